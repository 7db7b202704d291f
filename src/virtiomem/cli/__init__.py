"""The command line: one module per command, no logic.

`main.COMMANDS` is the table of contents. A command NAME lives in the module `virtiomem.cli.NAME` (dashes become
underscores), which offers two functions and is imported only when its command was chosen::

    def add_arguments(parser: argparse.ArgumentParser) -> None: ...
    def run(args: argparse.Namespace) -> int: ...      # the exit code

Four modules are not commands: `arguments` reads times, sizes, counts and addresses, `guests` chooses the guest that plays,
`device_subject` the device that is checked, `whole` is every command's parser at once.

What goes wrong is raised (`virtiomem.errors`); `main` says it in one line on stderr and turns it into the exit code.
"""


def start() -> int:
    """Run the command line. An interrupt ends it quietly, also during the imports."""
    try:
        from virtiomem import gcpause

        # Not in main(): a program that calls it keeps its own collector. Before the imports: they make no garbage to search.
        gcpause.make_rare()
        from virtiomem.cli.main import main

        code = main()
    except KeyboardInterrupt:
        from virtiomem.errors import Exit

        return Exit.INTERRUPTED
    else:
        gcpause.skip_last_search()
        return code
