/*
 * The hands of the conformance suite inside a guest: the only program of its root, started by Linux as /init.
 *
 * It reads lines from the console and answers each with a line, as QEMU's qtest socket does, so that whoever drives a device
 * over that socket can drive one from here:
 *
 *     readb|readw|readl ADDR           OK 0xVALUE
 *     writeb|writew|writel ADDR VALUE  OK
 *     read ADDR SIZE                   OK 0xBYTES
 *     write ADDR SIZE 0xBYTES          OK
 *     again ADDR SIZE OFFSET:BYTES ... OK              what was last written to that piece of the ring, but for these bytes: a
 *                                                      serial port is slow, and batches of requests resemble each other
 *     pciread NAME OFFSET              OK 0xVALUE      32 bits of a function's configuration space
 *     pciwrite NAME OFFSET WIDTH VALUE OK              WIDTH is 2 or 4 bytes
 *     reboot                                           no answer: the machine resets
 *
 * What cannot be done is answered with "ERR" and a reason. Before the first line it says once what there is:
 *
 *     virtiomem-hands 1 ring=ADDR+SIZE [pci=NAME@BAR0,...,BAR5]... [mmio=ADDR]...
 *     virtiomem-hands 1 error=REASON
 *
 * Addresses are physical. The ring lies in a huge page: contiguous, it does not move, and its address is known to root.
 * Everything else is reached through /dev/mem, for which the kernel is started with iomem=relaxed. No driver may be
 * bound to the device; the kernels of distributions have virtio as modules, and nothing here loads one.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define RING (1u << 20)                 /* bytes of the huge page that are used */
#define LINE (4u << 20)                 /* the longest line */
#define WINDOWS 64                      /* pages of /dev/mem that stay mapped */
#define PCI "/sys/bus/pci/devices/"
#define DEVICE_TREE "/proc/device-tree"
#define MMIO_MAGIC 0x74726976u
#define MEM_DEVICE 24u                  /* virtio device number of a memory device */

static int devmem = -1;
static long page;
static uint64_t ring_addr;
static char *ring;
static char written[RING];              /* to the ring by us; the device writes there, too */
static struct { uint64_t addr; char *at; } windows[WINDOWS];

/* --- files --- */

static ssize_t get(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	return n;
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return n < 0 ? -1 : 0;
}

static void put_all(const char *text, size_t size)
{
	while (size) {
		ssize_t n = write(1, text, size);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return;
		if (n > 0)
			text += n, size -= n;
	}
}

/* --- physical memory --- */

static char *reach(uint64_t addr)
{
	uint64_t start = addr & ~(uint64_t)(page - 1);
	unsigned slot = (start / page) % WINDOWS;

	if (ring && addr >= ring_addr && addr < ring_addr + RING)
		return ring + (addr - ring_addr);
	if (!windows[slot].at || windows[slot].addr != start) {
		if (windows[slot].at)
			munmap(windows[slot].at, page);
		windows[slot].at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, devmem, start);
		if (windows[slot].at == MAP_FAILED) {
			windows[slot].at = NULL;
			return NULL;
		}
		windows[slot].addr = start;
	}
	return windows[slot].at + (addr - start);
}

static int peek(uint64_t addr, unsigned width, uint32_t *value)
{
	volatile void *at = addr % width ? NULL : reach(addr);

	if (!at)
		return -1;
	__sync_synchronize();
	*value = width == 1 ? *(volatile uint8_t *)at : width == 2 ? *(volatile uint16_t *)at : *(volatile uint32_t *)at;
	return 0;
}

static int poke(uint64_t addr, unsigned width, uint32_t value)
{
	volatile void *at = addr % width ? NULL : reach(addr);

	if (!at)
		return -1;
	__sync_synchronize();
	if (width == 1)
		*(volatile uint8_t *)at = value;
	else if (width == 2)
		*(volatile uint16_t *)at = value;
	else
		*(volatile uint32_t *)at = value;
	__sync_synchronize();
	return 0;
}

/* How many bytes to move at once: registers and device memory want aligned accesses of four bytes where there are four. */
static unsigned piece(uint64_t addr, size_t left)
{
	return addr % 4 == 0 && left >= 4 ? 4 : 1;
}

/* --- PCI configuration space, through sysfs: every bus, on every architecture --- */

static const char *attribute(const char *name, const char *which)
{
	static char path[sizeof(PCI) + 320];

	snprintf(path, sizeof(path), PCI "%.255s/%s", name, which);
	return path;
}

/* --- what is there --- */

static const char *take_ring(void)
{
	char text[4096], *found;
	unsigned long size;
	uint64_t entry = 0;
	int fd;

	get("/proc/meminfo", text, sizeof(text));
	found = strstr(text, "Hugepagesize:");
	if (!found)
		return "the kernel has no huge pages (CONFIG_HUGETLBFS)";
	size = strtoul(found + strlen("Hugepagesize:"), NULL, 10) << 10;
	put("/proc/sys/vm/nr_hugepages", "1");
	ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
	if (ring == MAP_FAILED || mlock(ring, size)) {
		ring = NULL;
		return "no huge page is free: the guest needs more memory";
	}
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, &entry, sizeof(entry), (uintptr_t)ring / page * sizeof(entry)) != sizeof(entry))
		entry = 0;
	close(fd);
	ring_addr = (entry & ((1ull << 55) - 1)) * page;
	return ring_addr ? NULL : "/proc/self/pagemap does not tell where a page lies";
}

static int is_mem_device(const char *name)
{
	char vendor[16], device[16];

	get(attribute(name, "vendor"), vendor, sizeof(vendor));
	get(attribute(name, "device"), device, sizeof(device));
	return strtoul(vendor, NULL, 16) == 0x1af4 && strtoul(device, NULL, 16) == 0x1040 + MEM_DEVICE;
}

static int say_pci(void)
{
	DIR *folder = opendir(PCI);
	struct dirent *one;
	char text[4096], *line;
	int found = 0;

	while (folder && (one = readdir(folder))) {
		if (one->d_name[0] == '.' || !is_mem_device(one->d_name))
			continue;
		put(attribute(one->d_name, "driver/unbind"), one->d_name);      /* virtio_pci, where it is built in */
		put(attribute(one->d_name, "enable"), "1");
		get(attribute(one->d_name, "resource"), text, sizeof(text));
		printf(" pci=%s@", one->d_name);
		line = text;
		for (int bar = 0; bar < 6; bar++) {
			printf("%s%#llx", bar ? "," : "", strtoull(line, NULL, 16));
			line = strchr(line, '\n');
			if (!line++)
				line = "";
		}
		found++;
	}
	if (folder)
		closedir(folder);
	return found;
}

static int say_mmio(uint64_t addr)
{
	uint32_t magic, device;

	if (peek(addr, 4, &magic) || magic != MMIO_MAGIC || peek(addr + 8, 4, &device) || device != MEM_DEVICE)
		return 0;
	printf(" mmio=%#llx", (unsigned long long)addr);
	return 1;
}

static int say_mmio_of_command_line(void)
{
	static const char option[] = "virtio_mmio.device=";
	char text[4096], *at = text;
	int found = 0;

	get("/proc/cmdline", text, sizeof(text));
	while ((at = strstr(at, option))) {
		at += strcspn(at, "@ ");
		if (*at == '@')
			found += say_mmio(strtoull(at + 1, NULL, 0));
	}
	return found;
}

static int say_mmio_of_device_tree(const char *folder_name, int depth)
{
	DIR *folder = opendir(folder_name);
	struct dirent *one;
	char path[512], text[64];
	uint64_t addr;
	int found = 0;

	while (folder && (one = readdir(folder))) {
		if (one->d_name[0] == '.' || one->d_type != DT_DIR)
			continue;
		snprintf(path, sizeof(path), "%.200s/%.200s/compatible", folder_name, one->d_name);
		if (get(path, text, sizeof(text)) > 0 && !strcmp(text, "virtio,mmio")) {
			snprintf(path, sizeof(path), "%.200s/%.200s/reg", folder_name, one->d_name);
			addr = 0;
			for (ssize_t n = get(path, text, sizeof(text)) / 2, i = 0; i < n; i++)
				addr = addr << 8 | (uint8_t)text[i];
			found += say_mmio(addr);
		} else if (depth) {
			snprintf(path, sizeof(path), "%.200s/%.200s", folder_name, one->d_name);
			found += say_mmio_of_device_tree(path, depth - 1);
		}
	}
	if (folder)
		closedir(folder);
	return found;
}

static void say_hello(void)
{
	const char *error = NULL;

	printf("\nvirtiomem-hands 1");
	devmem = open("/dev/mem", O_RDWR | O_SYNC | O_CLOEXEC);
	if (devmem < 0)
		error = "no /dev/mem (CONFIG_DEVMEM)";
	else if (!access("/sys/bus/virtio/drivers/virtio_mem", F_OK))
		error = "the kernel has the virtio-mem driver built in";
	else
		error = take_ring();
	if (error) {
		printf(" error=%s\n", error);
		fflush(stdout);
		return;
	}
	printf(" ring=%#llx+%#x", (unsigned long long)ring_addr, RING);
	if (!say_pci() && !say_mmio_of_command_line())
		say_mmio_of_device_tree(DEVICE_TREE, 1);
	printf("\n");
	fflush(stdout);
}

/* --- the lines --- */

static char answer[LINE];
static size_t answered;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	answered += vsnprintf(answer + answered, sizeof(answer) - answered, format, arguments);
	va_end(arguments);
}

static void flush(void)
{
	put_all(answer, answered);
	answered = 0;
}

static void do_read(uint64_t addr, uint64_t size)
{
	uint32_t value;

	if (size * 2 + 16 > sizeof(answer) - answered)
		flush();
	if (size * 2 + 16 > sizeof(answer)) {
		say("ERR too long\n");
		return;
	}
	say("OK 0x");
	while (size) {
		unsigned width = piece(addr, size);

		if (peek(addr, width, &value)) {
			say("\nERR %#llx cannot be reached\n", (unsigned long long)addr);
			return;
		}
		for (unsigned i = 0; i < width; i++, value >>= 8) {
			answer[answered++] = "0123456789abcdef"[value >> 4 & 15];
			answer[answered++] = "0123456789abcdef"[value & 15];
		}
		addr += width, size -= width;
	}
	say("\n");
}

static unsigned digit(char c)
{
	return c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
}

static int unhex(const char *hex, char *bytes, size_t size)
{
	if (strspn(hex, "0123456789abcdef") < size * 2)
		return -1;
	for (size_t i = 0; i < size; i++, hex += 2)
		bytes[i] = digit(hex[0]) << 4 | digit(hex[1]);
	return 0;
}

static void do_write(uint64_t addr, uint64_t size, const char *hex)
{
	if (strncmp(hex, "0x", 2) || strlen(hex + 2) != size * 2) {
		say("ERR not that many bytes\n");
		return;
	}
	hex += 2;
	if (ring && addr >= ring_addr && addr - ring_addr < RING && size <= RING - (addr - ring_addr))
		unhex(hex, written + (addr - ring_addr), size);
	while (size) {
		unsigned width = piece(addr, size);
		uint32_t value = 0;

		for (unsigned i = 0; i < width; i++, hex += 2)
			value |= (uint32_t)(digit(hex[0]) << 4 | digit(hex[1])) << 8 * i;
		if (poke(addr, width, value)) {
			say("ERR %#llx cannot be reached\n", (unsigned long long)addr);
			return;
		}
		addr += width, size -= width;
	}
	say("OK\n");
}

static void do_again(uint64_t addr, uint64_t size, char *rest)
{
	uint64_t offset = addr - ring_addr, at;
	char *colon;

	if (!ring || addr < ring_addr || offset >= RING || size > RING - offset) {
		say("ERR not in the ring\n");
		return;
	}
	for (char *next = strtok(rest, " \r"); next; next = strtok(NULL, " \r")) {
		at = strtoull(next, &colon, 16);
		if (*colon != ':' || at > size || strlen(colon + 1) / 2 > size - at ||
		    unhex(colon + 1, written + offset + at, strlen(colon + 1) / 2)) {
			say("ERR %.40s is no piece\n", next);
			return;
		}
	}
	memcpy(ring + offset, written + offset, size);
	__sync_synchronize();
	say("OK\n");
}

static void do_pci(char **word)
{
	int reading = !strcmp(word[0], "pciread");
	unsigned width = reading ? 4 : strtoul(word[3], NULL, 0);
	uint32_t value = reading ? 0 : strtoul(word[4], NULL, 0);
	off_t offset = strtoul(word[2], NULL, 0);
	int fd = open(attribute(word[1], "config"), (reading ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
	ssize_t n = -1;

	if (fd >= 0 && (width == 2 || width == 4))
		n = reading ? pread(fd, &value, width, offset) : pwrite(fd, &value, width, offset);
	if (fd >= 0)
		close(fd);
	if (n != (ssize_t)width)
		say("ERR the configuration space of %.60s cannot be reached\n", word[1]);
	else if (reading)
		say("OK %#x\n", value);
	else
		say("OK\n");
}

static unsigned width_of(char letter)
{
	return letter == 'b' ? 1 : letter == 'w' ? 2 : letter == 'l' ? 4 : 0;
}

static void obey(char *line)
{
	char *word[6] = {0};
	int count = 0, used = 0;
	unsigned long long start, size;
	uint32_t value;

	if (sizeof(answer) - answered < 256)
		flush();
	if (sscanf(line, "again %llx %llx%n", &start, &size, &used) == 2) {
		do_again(start, size, line + used);
		return;
	}
	for (char *next = strtok(line, " \r"); next && count < 6; next = strtok(NULL, " \r"))
		word[count++] = next;
	if (!count)
		return;
	uint64_t addr = count > 1 ? strtoull(word[1], NULL, 0) : 0;

	if (count == 3 && !strcmp(word[0], "read")) {
		do_read(addr, strtoull(word[2], NULL, 0));
	} else if (count == 4 && !strcmp(word[0], "write")) {
		do_write(addr, strtoull(word[2], NULL, 0), word[3]);
	} else if (count == 2 && !strncmp(word[0], "read", 4) && width_of(word[0][4]) && !word[0][5]) {
		if (peek(addr, width_of(word[0][4]), &value))
			say("ERR %#llx cannot be reached\n", (unsigned long long)addr);
		else
			say("OK %#x\n", value);
	} else if (count == 3 && !strncmp(word[0], "write", 5) && width_of(word[0][5]) && !word[0][6]) {
		if (poke(addr, width_of(word[0][5]), strtoull(word[2], NULL, 0)))
			say("ERR %#llx cannot be reached\n", (unsigned long long)addr);
		else
			say("OK\n");
	} else if ((count == 3 && !strcmp(word[0], "pciread")) || (count == 5 && !strcmp(word[0], "pciwrite"))) {
		do_pci(word);
	} else if (count == 1 && !strcmp(word[0], "reboot")) {
		flush();
		tcdrain(1);
		reboot(RB_AUTOBOOT);
	} else {
		say("ERR unknown %.40s\n", word[0]);
	}
}

static void obey_for_ever(void)
{
	static char heard[LINE];
	size_t filled = 0, looked = 0;
	char *end;

	for (;;) {
		ssize_t n = read(0, heard + filled, sizeof(heard) - filled);
		size_t start = 0;

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			sleep(1);
		if (n <= 0)
			continue;
		filled += n;
		while ((end = memchr(heard + looked, '\n', filled - looked))) {
			*end = 0;
			obey(heard + start);
			start = looked = end + 1 - heard;
		}
		flush();
		memmove(heard, heard + start, filled -= start);
		looked = filled;
		if (filled == sizeof(heard))
			filled = looked = 0;
	}
}

int main(void)
{
	struct termios line;

	page = sysconf(_SC_PAGESIZE);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	klogctl(8, NULL, 1);            /* what the kernel still has to say is not for this console */
	if (!tcgetattr(0, &line)) {
		cfmakeraw(&line);
		tcsetattr(0, TCSANOW, &line);
	}
	say_hello();
	obey_for_ever();
}
