// Compile Python files by the Python that will run them: node compile.mjs PYODIDE FOLDER OPTIMIZE
//
// Every .py below FOLDER becomes a .pyc next to it, which the browser then need not make at each visit.
import { resolve } from "node:path";

const [pyodide, folder, optimize] = process.argv.slice(2);
const { loadPyodide } = await import(resolve(pyodide, "pyodide.mjs"));
const python = await loadPyodide({ args: ["-X", "no_debug_ranges"], lockFileContents: '{"info": {"abi_version": "2026_0"}, "packages": {}}' });
python.FS.mkdirTree("/made");
python.mountNodeFS("/made", resolve(folder));
const done = python.runPython(`
import compileall, py_compile
compileall.compile_dir(
    "/made", quiet=1, legacy=True, stripdir="/made", optimize=${Number(optimize)},
    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
)
`);
process.exit(done ? 0 : 1);
