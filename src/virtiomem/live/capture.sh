# Prints a capture of this Linux's memory, for `virtiomem` to read elsewhere. It reads only what its last lines name and
# writes nothing but its output. A POSIX shell with awk, sed, sort, tr, od, dd and dmesg suffices: busybox has them.
# Exit status: 0; 64 when something that is there could not be read, or addresses are hidden; 2 usage.
#
#   sh capture.sh > guest.capture            as root, so that addresses show
#   sh capture.sh --pages > guest.capture    also what each memory block's pages are used for, and which are plugged
#   sh capture.sh --pages --seconds N        count pages for N seconds at most (20)
#   sh capture.sh --sysroot DIR              a copy of another Linux's files
LC_ALL=C
export LC_ALL
root= pages= short= page= seconds=20
while [ $# -gt 0 ]; do
    case $1 in
    --pages) pages=yes ;;
    --seconds) seconds=$2; shift ;;
    --sysroot) root=${2%/}; shift ;;
    *) echo "usage: sh capture.sh [--pages [--seconds N]] [--sysroot DIR]" >&2; exit 2 ;;
    esac
    shift
done

# The size of a page; no file of a copy says it, and busybox has no getconf.
[ -n "$root" ] || page=$(getconf PAGESIZE 2>/dev/null || awk '/^KernelPageSize:/ { print $2 * 1024; exit }' /proc/self/smaps)

# absent HEADING: no lines, and why
absent() { if [ -e "$root/$1" ]; then short=yes; echo "[$1] denied"; else echo "[$1] absent"; fi; }

# values PREFIX DIRECTORY NAME...: small files as `name value`
values() {
    prefix=$1 from=$2
    shift 2
    for name; do
        [ -r "$from/$name" ] || continue
        printf ' %s%s %s\n' "$prefix" "$name" "$(tr '\n' ' ' <"$from/$name" | sed 's/ $//')"
    done
}

# numbered DIRECTORY PREFIX: the numbers of the entries PREFIXn, ascending
numbered() { ls "$1" 2>/dev/null | sed -n "s/^$2\([0-9][0-9]*\)\$/\1/p" | sort -n; }

# asked HEADING: whether --pages was given, for what is only read then
asked() { [ -n "$pages" ] || { echo "[$1] not collected"; return 1; }; }

take_file() {
    cat "$root/$1" >/dev/null 2>&1 || { absent "$1"; return; }
    echo "[$1]"
    sed 's/^/ /' <"$root/$1"
}

take_lines() { # HEADING 'WORDS|WORDS': the lines that begin with one of them
    cat "$root/$1" >/dev/null 2>&1 || { absent "$1"; return; }
    echo "[$1]"
    awk -v words="$2" 'BEGIN { n = split(words, want, "|") } {
        line = $0
        sub(/^ */, "", line)
        for (i = 1; i <= n; i++) if (index(line, want[i]) == 1) { print " " $0; next }
    }' <"$root/$1"
}

take_words() { # HEADING 'NAME|NAME': those parameters; a quoted value may hold spaces
    cat "$root/$1" >/dev/null 2>&1 || { absent "$1"; return; }
    awk -v heading="$1" -v names="$2" '
        function word_ends(    name, module) {
            if (word == "") return
            all++
            name = word
            sub(/=.*/, "", name)
            gsub(/"/, "", name)
            gsub(/-/, "_", name)
            module = name
            sub(/\..*/, ".*", module)
            if ((name in want) || (module in want)) { taken++; line = line " " word }
            word = ""
        }
        BEGIN { n = split(names, list, "|"); for (i = 1; i <= n; i++) want[list[i]] = 1 }
        {
            for (i = 1; i <= length($0); i++) {
                c = substr($0, i, 1)
                if (c == "\"") quoted = !quoted
                if (c == " " && !quoted) word_ends()
                else word = word c
            }
            word_ends()
        }
        END { print "[" heading "] " taken + 0 " of " all + 0 " parameters"; if (line != "") print line }
    ' <"$root/$1"
}

take_directory() {
    heading=$1
    shift
    [ -d "$root/$heading" ] || { absent "$heading"; return; }
    echo "[$heading]"
    values "" "$root/$heading" "$@"
}

take_blocks() { # FIRST[-LAST] STATE REMOVABLE NODES ZONES
    heading=$1 memory=$root/$1
    shift
    [ -r "$memory/block_size_bytes" ] || { absent "$heading"; return; }
    echo "[$heading]"
    values "" "$memory" "$@"
    for n in $(numbered "$memory" memory); do
        state=unknown removable=0 zones= nodes=
        read -r state <"$memory/memory$n/state"
        read -r removable <"$memory/memory$n/removable"
        read -r zones <"$memory/memory$n/valid_zones"
        for link in "$memory/memory$n"/node[0-9]*; do
            [ -e "$link" ] || [ -L "$link" ] || continue
            nodes=$nodes${nodes:+,}${link##*/node}
        done
        echo "$n ${state:-unknown} ${removable:-0} ${nodes:--} $zones"
    done 2>/dev/null | awk '
        function flush() { if (first != "") print " " first (last > first ? "-" last : "") " " looks }
        {
            zones = $5
            for (i = 6; i <= NF; i++) zones = zones "/" $i
            now = $2 " " $3 " " $4 " " (zones == "" ? "-" : zones)
            if (first != "" && now == looks && $1 == last + 1) { last = $1; next }
            flush()
            first = last = $1 + 0
            looks = now
        }
        END { flush() }
    '
}

take_devices() { # NAME driver=… parent=… node=…: those of virtio id 24
    [ -d "$root/$1" ] || { absent "$1"; return; }
    echo "[$1]"
    for device in "$root/$1"/*; do
        id=
        read -r id 2>/dev/null <"$device/device" || continue
        [ $((id)) -eq 24 ] || continue
        driver=- node=-1 real=$(cd "$device" && pwd -P)
        [ -e "$device/driver" ] && driver=$(cd "$device/driver" && pwd -P)
        parent=${real%/*}
        read -r node 2>/dev/null <"$parent/numa_node"
        echo " ${device##*/} driver=${driver##*/} parent=${parent##*/} node=${node:--1}"
    done
}

take_dimms() { # NAME status=… blocks=N,N: ACPI's memory devices
    [ -d "$root/$1" ] || { absent "$1"; return; }
    echo "[$1]"
    for device in "$root/$1"/PNP0C80:*; do
        [ -e "$device" ] || continue
        status= blocks=
        read -r status 2>/dev/null <"$device/status"
        for n in $(for link in "$device"/physical_node*; do [ -e "$link" ] && (cd "$link" && pwd -P); done |
            sed -n 's,.*/memory\([0-9][0-9]*\)$,\1,p' | sort -n); do
            blocks=$blocks${blocks:+,}$n
        done
        echo " ${device##*/} status=${status:--} blocks=${blocks:--}"
    done
}

take_dax() { # NAME driver=… resource=… size=… target_node=…
    [ -d "$root/$1" ] || { absent "$1"; return; }
    echo "[$1]"
    for device in "$root/$1"/*; do
        [ -e "$device" ] || continue
        driver=- line=
        [ -e "$device/driver" ] && driver=$(cd "$device/driver" && pwd -P)
        for name in resource size target_node; do
            value=
            read -r value 2>/dev/null <"$device/$name"
            line="$line $name=${value:--}"
        done
        echo " ${device##*/} driver=${driver##*/}$line"
    done
}

take_log() { # HEADING 'WORDS|WORDS': the last of each message that begins with one of them
    [ -z "$root" ] && [ -c "/$1" ] || { echo "[$1] absent"; return; }
    log=$(dmesg 2>/dev/null) || { short=yes; echo "[$1] denied"; return; }
    echo "[$1]"
    printf '%s\n' "$log" | sed 's/^<[0-9]*>//; s/^\[[^]]*\] //' | awk -v words="$2" '
        BEGIN { last = split(words, want, "|") }
        {
            for (i = 1; i <= last; i++) if (index($0, want[i]) == 1) break
            if (i > last) next
            key = $0
            sub(/: [^:]*$/, "", key)
            if (!(key in message)) order[++n] = key
            message[key] = $0
        }
        END { for (i = 1; i <= n; i++) print " " message[order[i]] }
    '
}

take_notes() {
    heading=$1
    shift
    [ -d "$root/$heading" ] || { absent "$heading"; return; }
    notes=$(for n in $(numbered "$root/$heading" cpu); do
        values "cpu$n/" "$root/$heading/cpu$n" crash_notes crash_notes_size
    done)
    case $notes in
    *"/crash_notes "*) echo "[$heading]" ;;
    *)
        remark="no crash notes"
        for file in "$root/$heading"/cpu[0-9]*/crash_notes; do
            if [ -e "$file" ]; then short=yes remark="crash notes denied"; fi
        done
        echo "[$heading] $remark"
        ;;
    esac
    values "" "$root/$heading" "$@"
    [ -z "$notes" ] || echo "$notes"
}

# 8-byte words of the kernel's memory, one a line. An ELF header has 8 of them, each program header 7: type and flags,
# offset, virtual and physical address, size in the file and in memory, alignment.
words() { dd if="$1" bs=4096 skip="$2" count="$3" 2>/dev/null | od -An -v -tx8 | awk '{ for (i = 1; i <= NF; i++) print $i }'; }

# loads: of such words, offset, physical address and size of each segment to load but the kernel's own mapping
loads() {
    awk '
        { word[NR] = $1 }
        END {
            if (word[1] != "00010102464c457f" || substr(word[3], 9) != "003e0004") exit
            count = substr(word[8], 13)
            while (at < 65535 && sprintf("%04x", at) != count) {
                first = 9 + 7 * at++
                if (substr(word[first], 9) == "00000001" && word[first + 2] !~ /^ffffffff[89a-f]/ && word[first + 3] !~ /^ffffffff/)
                    print word[first + 1], word[first + 3], word[first + 5]
            }
        }
    '
}

take_header() { # HEADING: FIRST-LAST of what the header of the loaded crash kernel dumps
    [ -e "$root/$1" ] || { absent "$1"; return; }
    loaded=
    read -r loaded 2>/dev/null <"$root/sys/kernel/kexec_crash_loaded"
    [ "$loaded" = 1 ] || { echo "[$1] no crash header"; return; }
    dd if="$root/$1" bs=64 count=1 >/dev/null 2>&1 || { absent "$1"; return; }
    start=$(sed -n 's/^ *\([0-9a-f]*\)-[0-9a-f]* : Crash kernel$/\1/p' "$root/proc/iomem" | tail -n 1)
    ranges=$(words "$root/$1" 0 16 | loads | while read -r offset from size; do
        [ $((0x$from)) -le $((0x${start:-0})) ] && [ $((0x${start:-0} - 0x$from)) -lt $((0x$size)) ] || continue
        page=$(((0x$offset + 0x$start - 0x$from) / 4096))
        count=$(words "$root/$1" $page 1 | sed -n '8s/.*\(....\)$/\1/p')
        words "$root/$1" $page $(((64 + 56 * 0x${count:-0} + 4095) / 4096)) | loads
        break
    done | while read -r _ from size; do
        printf ' %08x-%08x\n' $((0x$from)) $((0x$from + 0x$size - 1))
    done)
    [ -n "$ranges" ] || { echo "[$1] no crash header"; return; }
    echo "[$1]"
    echo "$ranges"
}

# page_flags FILE BLOCKSIZE SKIP COUNT: flags of pages, 8 bytes each, as runs: `PAGES FLAGS`. od marks lines that repeat with
# a star, and says where it goes on.
page_flags() {
    dd if="$1" bs="$2" skip="$3" count="$4" 2>/dev/null | od -Ad -tx8 | awk '
        function add(flags, pages) {
            if (flags != now) { if (count) print count, now; now = flags; count = 0 }
            count += pages
        }
        $1 == "*" { star = 1; next }
        {
            sub(/^0+/, "", $1) # busybox takes it for octal
            if (star) {
                pages = ($1 - last) / 8 - 2
                if (one == two) add(one, pages)
                else for (; pages > 0; pages -= 2) { add(one, 1); add(two, 1) }
            }
            star = 0; last = $1; one = $2; two = $3
            if (NF > 1) add(one, 1)
            if (NF > 2) add(two, 1)
        }
        END { if (count) print count, now }
    '
}

take_pages() { # HEADING: what is plugged, then the pages of each memory block; `# REMARK` where time was up
    dd if="$root/$1" bs=8 count=1 >/dev/null 2>&1 || { absent "$1"; return; }
    found=$(plugged_parts "$1"; count_pages "$1")
    remark=$(printf '%s\n' "$found" | sed -n 's/^# //p' | sed ':a;N;$!ba;s/\n/; /')
    [ -z "$remark" ] || short=yes
    echo "[$1]${remark:+ $remark}"
    [ -z "$found" ] || printf '%s\n' "$found" | sed '/^#/d'
}

# START-END plugged | unplugged | unknown, in units of 2 MiB, of which 1 GiB is looked at between two looks at the clock. In
# the sixth hex digit of the flags from the right, 8 means offline (bit 23), 1 means no page (bit 20).
plugged_parts() {
    per=$((2097152 / ${page:-4096})) until=$(($(date +%s) + seconds)) ended=
    sed -n 's/^ *\([0-9a-f]*\)-\([0-9a-f]*\) : System RAM (virtio_mem)$/\1 \2/p' "$root/proc/iomem" | {
        while read -r start end; do
            first=$((0x$start / 2097152)) count=$(((0x$end - 0x$start + 1) / 2097152))
            ended=$((first + count)) at=$first
            while [ $at -lt $ended ]; do
                if [ "$(date +%s)" -gt $until ]; then
                    echo "$((ended - at)) unknown"
                    break
                fi
                some=$((ended - at < 512 ? ended - at : 512))
                page_flags "$root/$1" $((per * 8)) $at $some | awk -v per=$per '
                    function unit() { print 1, none == per ? "unknown" : offline == per ? "unplugged" : "plugged"; n = none = offline = 0 }
                    {
                        digit = substr($2, 11, 1)
                        for (left = $1; left > 0; left -= taken) {
                            taken = left < per - n ? left : per - n
                            if (digit ~ /[13579bdf]/) none += taken
                            if (digit ~ /[89a-f]/) offline += taken
                            if ((n += taken) == per) unit()
                        }
                    }
                '
                at=$((at + some))
            done | awk '
                $2 != now { if (units) print units, now; units = 0; now = $2 }
                { units += $1 }
                END { if (units) print units, now }
            ' | while read -r units state; do
                printf ' %08x-%08x %s\n' $((first * 2097152)) $(((first + units) * 2097152 - 1)) "$state"
                first=$((first + units))
            done
        done
        [ -z "$ended" ] || [ "$(date +%s)" -le $until ] || echo "# what is plugged, for those blocks there was time for"
    }
}

# What the pages of each memory block that is online are used for, the highest first, while there is time: lines of
# `memoryN USE=PAGES … held=PIECES`, as virtiomem.recording.page_use has them. Flags are told by a hex digit, counted from
# the right, and by which values of it have the bit. Where time was up, `# REMARK` comes first.
count_pages() {
    read -r size 2>/dev/null <"$root/sys/devices/system/memory/block_size_bytes" || return
    size=$((0x$size / ${page:-4096} * 8)) until=$(($(date +%s) + seconds))
    for n in $(numbered "$root/sys/devices/system/memory" memory | sort -rn); do
        read -r state 2>/dev/null <"$root/sys/devices/system/memory/memory$n/state" && [ "$state" = online ] || continue
        if [ "$(date +%s)" -gt $until ]; then
            echo "# pages of the blocks above memory$n"
            break
        fi
        page_flags "$root/$1" $size $n 1 | awk -v block=$n -v per=$((2097152 / ${page:-4096})) '
            function bit(flags, digit, values) { return substr(values, index("0123456789abcdef", substr(flags, 17 - digit, 1)), 1) + 0 }
            function use(flags) {
                if (bit(flags, 6, ODD)) return "absent"
                if (bit(flags, 5, HIGH)) return "poisoned"
                if (bit(flags, 6, HIGH)) return "unplugged"
                if (bit(flags, 3, FOUR)) return "free"
                if (bit(flags, 9, ODD)) return "reserved"
                if (bit(flags, 5, TWO)) return "hugetlb"
                if (bit(flags, 2, HIGH)) return "slab"
                if (bit(flags, 7, FOUR)) return "page-table"
                if (bit(flags, 9, TWO) || bit(flags, 5, FOUR)) return "mlocked"
                if (bit(flags, 4, ODD)) return bit(flags, 3, HIGH) || bit(flags, 4, TWO) ? "anonymous" : "pinned"
                if (bit(flags, 4, FOUR)) return "shmem"
                return bit(flags, 2, TWO) || bit(flags, 1, HIGH) || bit(flags, 2, ODD) ? "cache" : "kernel"
            }
            BEGIN {
                ODD = "0101010101010101"; TWO = "0011001100110011"; FOUR = "0000111100001111"; HIGH = "0000000011111111"
                n = split("free unplugged poisoned cache shmem anonymous mlocked hugetlb pinned slab page-table reserved kernel absent", order, " ")
                now = "kernel"
            }
            {
                if (!($2 in known)) known[$2] = use($2)
                if (!bit($2, 5, ODD) || bit($2, 5, TWO)) now = known[$2]
                pages[now] += $1
                if (now ~ /^(pinned|slab|page-table|reserved|kernel)$/)
                    for (i = int(at / per); i <= int((at + $1 - 1) / per); i++) held[i] = 1
                at += $1
            }
            END {
                if (!at) exit
                line = " memory" block
                for (i = 1; i <= n; i++) if (pages[order[i]]) line = line " " order[i] "=" pages[order[i]]
                for (i in held) pieces++
                print line (pieces ? " held=" pieces : "")
            }
        '
    done | sort -t y -k 2n
}

finish() { # the last line; then say whether anything is missing
    echo "@END@"
    awk '{ sub(/:.*/, ""); if (/[1-9a-f]/) { seen = 1; exit } } END { exit !seen }' "$root/proc/iomem" 2>/dev/null || {
        short=yes
        echo "capture.sh: no address in /proc/iomem: read it as root" >&2
    }
    [ -z "$short" ] || { echo "capture.sh: not all could be read: look for 'denied'" >&2; exit 64; }
}

echo "@FORMAT@"
echo "collected $(date -u +%Y-%m-%dT%H:%M:%SZ)"
echo "by capture.sh of virtiomem @VERSION@"
[ -z "$page" ] || echo "page-size $page"
echo
