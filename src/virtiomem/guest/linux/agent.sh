#!/bin/sh
# The first and only program of the guest: it answers one line with many, on the second serial port.
#
#   host:   SEQ VERB ARGUMENTS            guest:  <SEQ
#                                                 what the verb prints
#                                                 >SEQ STATUS
#
# Before the first line it says "hello 2 RELEASE PAGE-SIZE"; the host waits for that after every boot, reset and kexec.

memory=/sys/devices/system/memory
port=${port:-ttyS1} # a kernel parameter that the kernel does not know comes as a variable
driver=/sys/bus/virtio/drivers/virtio_mem
traces=/sys/kernel/tracing/instances

start() {
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    for module in /modules/*.ko; do
        [ -e "$module" ] && insmod "$module"
    done
    [ -e /virtio_mem.ko ] || release_devices
    stty -F "/dev/$port" raw -echo
    exec 3<>"/dev/$port"
    set -- $(grep -m 1 KernelPageSize: /proc/self/smaps)
    echo "hello 2 $(uname -r) $(($2 * 1024))" >&3
}

# A driver that is built in has taken its devices already; "load" binds them again.
release_devices() {
    for device in "$driver"/virtio*; do
        [ -e "$device" ] && echo "${device##*/}" >"$driver/unbind"
    done
}

serve() {
    while read -r seq verb arguments <&3; do
        [ "$seq" ] || continue # an empty line only wakes a guest that sleeps
        answer=$(answer 2>&1 </dev/null)
        printf '<%s\n%s\n>%s %s\n' "$seq" "$answer" "$seq" $? >&3
    done
}

answer() {
    case "$verb" in
        snapshot | pages | load | unload | set_state | use | free | refuse | kexec | suspend | crash_kernel)
            "$verb" $arguments
            ;;
        sh) eval "$arguments" ;;
        *) echo "no verb $verb"; false ;;
    esac
}

# Everything the host wants to know of a guest, and whether the driver or the hotplug core is at work: then a kernel
# thread has one of their functions on its stack. The driver's retry timer shows in the timer list.
snapshot() {
    echo @iomem
    cat /proc/iomem
    echo "@block-size $(cat $memory/block_size_bytes)"
    echo @blocks
    cd $memory
    grep -s '' memory*/state memory*/valid_zones memory*/removable
    echo @nodes
    echo memory*/node*
    cd /
    echo @zones
    grep -E '^Node|pages free|min |spanned|present|managed|protection' /proc/zoneinfo
    echo @bound
    ls $driver 2>/dev/null | grep '^virtio'
    echo @busy
    [ -r /proc/1/stack ] || echo unknown
    grep -lsE 'virtio_mem|virtio_dev_probe|acpi_|memory_block|(online|offline)_pages|(add|remove)_memory' \
        /proc/[0-9]*/stack
    echo @timer
    grep -s -A1 virtio_mem_timer_expired /proc/timer_list
    echo @end
}

# The flags of every page of some memory blocks, so many bytes of a block; most are alike, so that little is left when packed.
# Nothing where the kernel does not show them (CONFIG_PROC_PAGE_MONITOR).
pages() {
    [ -e /proc/kpageflags ] || return 0
    size=$1
    shift
    for block in "$@"; do
        echo "$block $(dd if=/proc/kpageflags bs=$size skip="$block" count=1 2>/dev/null | gzip -1 | base64 -w 0)"
    done
}

load() {
    if [ -e /virtio_mem.ko ]; then
        insmod /virtio_mem.ko "$@"
    elif [ -e "$driver" ]; then
        for device in /sys/bus/virtio/devices/*; do
            [ "$(cat "$device/device")" = 0x0018 ] && echo "${device##*/}" >"$driver/bind"
        done
        true
    fi
}

unload() {
    if [ -e /virtio_mem.ko ]; then
        rmmod virtio_mem
    else
        release_devices
    fi
}

set_state() {
    state=$1
    failed=0
    shift
    for block in "$@"; do
        if ! reason=$( (echo "$state" >"$memory/memory$block/state") 2>&1); then
            echo "memory$block: ${reason##*: }"
            failed=1
        fi
    done
    return $failed
}

# Movable memory is a file in tmpfs, unmovable memory a buffer of the kernel's own: an instance of its tracing. (A file in
# ramfs does not move either, but a memory block that has some of it is going offline for ever, for the kernel goes on trying.)
use() {
    name=$1 size=$2 kind=$3
    if [ "$kind" = movable ]; then
        mkdir -p "/use/$name" || return
        mount -t tmpfs -o "size=$size" tmpfs "/use/$name" && fallocate -l "$size" "/use/$name/memory"
    else
        [ -e $traces ] || mount -t tracefs tracefs "${traces%/*}" || return
        mkdir "$traces/$name" && echo $(((size + 1023) >> 10)) >"$traces/$name/buffer_size_kb"
    fi
}

free() {
    if [ -e "$traces/$1" ]; then
        echo 1 >"$traces/$1/buffer_size_kb" && rmdir "$traces/$1"
    else
        umount "/use/$1" && rmdir "/use/$1"
    fi
}

# The kernel's own test of memory notifiers, loaded when it is first asked for, before the driver in the chain.
refuse() {
    error=/sys/kernel/debug/notifier-error-inject/memory/actions/MEM_GOING_$1/error
    if ! [ -e "$error" ]; then
        mount -t debugfs debugfs /sys/kernel/debug
        for module in /refusing/*.ko; do
            case "$module" in
                */[0-9]*-memory_*) insmod "$module" priority=1 || return ;;
                *) insmod "$module" || return ;;
            esac
        done
    fi
    echo "-$2" >"$error"
}

# The host wakes the guest up: a machine that sleeps (S3) through QEMU, a processor that does by a byte on this line.
suspend() {
    echo enabled >/sys/class/tty/$port/power/wakeup
    case "$1" in
        idle) state=freeze ;;
        memory) state=mem && echo deep >/sys/power/mem_sleep || return ;;
        *) state=$1 ;;
    esac
    reason=$( (echo "$state" >/sys/power/state) 2>&1) || { echo "suspend: ${reason##*: }"; false; }
}

# The new kernel's initramfs is what this one's root holds.
kexec() {
    cd / && {
        echo dev dev/console proc sys use | tr ' ' '\n'
        find bin sbin lib lib64 usr modules refusing init vmlinuz virtio_mem.ko 2>/dev/null
    } | cpio -o -H newc 2>/dev/null >/use-initrd || return
    /sbin/kexec -l /vmlinuz --initrd=/use-initrd --reuse-cmdline || return
    rm -f /use-initrd
    (sleep 1; /sbin/kexec -e) >/dev/null 2>&1 &
}

# It is never started, so it needs no root. OPTION is -s (kexec_file_load) or -c (kexec_load).
crash_kernel() {
    /sbin/kexec -p "$1" /vmlinuz --reuse-cmdline
}

start
serve
