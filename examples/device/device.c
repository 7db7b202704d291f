/* A virtio-mem device in C, for `virtiomem device check --command ./device` (cc -o device device.c). It reads a JSON line and
 * answers with one: docs/device-protocol.md. It keeps every rule that such a device can be seen to keep. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PLUG, UNPLUG, UNPLUG_ALL, STATE };
enum { ACK, NACK, BUSY, ERROR };

static uint64_t size, block, requested, usable, addr, node, plugged, busy;
static unsigned char *map; /* a byte a block: is it plugged? */

static uint64_t number(const char *line, const char *key, uint64_t otherwise)
{
	const char *at = strstr(line, key);
	return at && strncmp(at + strlen(key), "null", 4) ? strtoull(at + strlen(key), NULL, 10) : otherwise;
}

static uint64_t field(const char *hex, int offset, int bytes) /* little endian, two digits a byte */
{
	uint64_t value = 0;
	for (int i = bytes - 1; i >= 0; i--) {
		char pair[3] = { hex[2 * (offset + i)], hex[2 * (offset + i) + 1], 0 };
		value = value << 8 | strtoul(pair, NULL, 16);
	}
	return value;
}

static void extend(void) /* the usable region reaches beyond what is requested, and shrinks only where it is set to 0 before */
{
	uint64_t wanted = requested ? requested + (256 << 20) : 0;
	wanted = wanted < size ? wanted : size;
	usable = wanted > usable ? wanted : usable;
}

static void unplug_all(void)
{
	memset(map, 0, size / block);
	plugged = usable = 0;
	extend();
}

static int request(uint64_t type, uint64_t start, uint64_t count, uint64_t *state)
{
	uint64_t first = (start - addr) / block, on = 0;
	if (type == UNPLUG_ALL) {
		if (busy)
			return BUSY;
		unplug_all();
		return ACK;
	}
	if (start < addr || start % block || !count || start - addr >= usable || count > (usable - (start - addr)) / block)
		return ERROR;
	for (uint64_t i = first; i < first + count; i++)
		on += map[i];
	*state = on == count ? 0 : on ? 2 : 1;
	if (type == STATE)
		return ACK;
	if (on != (type == UNPLUG ? count : 0))
		return ERROR;
	if (type == PLUG && plugged + count * block > requested)
		return NACK;
	if (busy)
		return BUSY;
	memset(map + first, type == PLUG, count);
	plugged = type == PLUG ? plugged + count * block : plugged - count * block;
	return ACK;
}

static void answer(const char *line)
{
	const char *hex = strstr(line, "\"bytes\": \"");
	if (strstr(line, "\"do\": \"open\"")) {
		size = number(line, "\"size\": ", 0);
		block = number(line, "\"block-size\": ", 2 << 20);
		requested = number(line, "\"requested-size\": ", 0);
		addr = number(line, "\"addr\": ", 1ull << 32);
		node = number(line, "\"node\": ", 0);
		map = calloc(size / block, 1);
		extend();
		puts(requested > size ? "{\"refused\": \"more requested than there is\"}" : "{\"features\": 1}");
	} else if (strstr(line, "\"do\": \"config\"")) {
		printf("{\"block-size\": %" PRIu64 ", \"node\": %" PRIu64 ", \"addr\": %" PRIu64 ", \"region-size\": %" PRIu64 ", ",
		       block, node, addr, size);
		printf("\"usable-region-size\": %" PRIu64 ", \"plugged-size\": %" PRIu64 ", \"requested-size\": %" PRIu64 "}\n",
		       usable, plugged, requested);
	} else if (hex) {
		uint64_t type = field(hex += 10, 0, 2), state = 0;
		if (type > STATE) {
			puts("{\"broken\": \"no such request\"}");
			return;
		}
		int result = request(type, field(hex, 8, 8), field(hex, 16, 2), &state);
		printf("{\"bytes\": \"%02x%014x%02x00\"}\n", result, 0, type == STATE && result == ACK ? (int)state : 0);
	} else if (strstr(line, "\"do\": \"set-requested-size\"")) {
		uint64_t wanted = number(line, "\"size\": ", 0);
		if (wanted > size || wanted % block) {
			puts("{\"refused\": \"no multiple of the block size, or more than there is\"}");
			return;
		}
		requested = wanted;
		extend();
		puts("{\"notified\": true}");
	} else {
		if (strstr(line, "\"do\": \"system-reset\"") && !busy)
			unplug_all();
		if (strstr(line, "\"do\": \"set-busy\""))
			busy = !!strstr(line, "\"busy\": true");
		puts("{}");
	}
}

int main(void)
{
	static char line[1 << 16];
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof line, stdin))
		answer(line);
	return 0;
}
