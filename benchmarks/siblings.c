/* What a sorted sibling list costs: request, merge and release by walking it from its head, as Linux keeps resources.
 *
 *   cc -O2 siblings.c -o siblings && ./siblings plug|keep|churn|find N OPS
 *
 * Prints nanoseconds of CPU time an operation. Written for comparison only; it shares no code with Linux. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct node { uint64_t start, end; struct node *next; };
static const uint64_t block = 128ull << 20;
static struct node *head;

static int request(uint64_t start, uint64_t end)
{
	struct node **at = &head, *made;

	while (*at && (*at)->end < start)
		at = &(*at)->next;
	if (*at && (*at)->start <= end)
		return 0;
	made = calloc(1, sizeof *made + 64); /* as large as the kernel's */
	made->start = start;
	made->end = end;
	made->next = *at;
	*at = made;
	return 1;
}

static void drop(struct node **at)
{
	struct node *gone = *at;

	*at = gone->next;
	free(gone);
}

static void merge(uint64_t start)
{
	struct node **at = &head, *below = NULL;

	while ((*at)->start != start) {
		below = *at;
		at = &below->next;
	}
	if ((*at)->next && (*at)->end + 1 == (*at)->next->start) {
		(*at)->end = (*at)->next->end;
		drop(&(*at)->next);
	}
	if (below && below->end + 1 == start) {
		below->end = (*at)->end;
		drop(at);
	}
}

static void release(uint64_t start, uint64_t end)
{
	struct node **at = &head, *in;
	uint64_t last;

	while ((*at)->end < end)
		at = &(*at)->next;
	in = *at;
	last = in->end;
	if (in->start == start && last == end) {
		drop(at);
	} else if (in->start == start) {
		in->start = end + 1;
	} else {
		in->end = start - 1;
		if (last != end)
			request(end + 1, last);
	}
}

static uint64_t seed = 88172645463325252ull;

static uint64_t any(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

int main(int argc, char **argv)
{
	uint64_t n = argc > 3 ? strtoull(argv[2], 0, 0) : 0, ops = argc > 3 ? strtoull(argv[3], 0, 0) : 0, i, b, hits = 0;
	char *used = calloc(n + 1, 1);
	clock_t before;

	if (!n || !used)
		return 2;
	if (!strcmp(argv[1], "churn") || !strcmp(argv[1], "find")) {
		for (i = n; i-- > 0;) { /* downwards, so that building does not take for ever */
			if (*argv[1] == 'c' && any(2))
				continue;
			used[i] = 1;
			request(i * block, (i + 1) * block - 1);
			if (*argv[1] == 'c')
				merge(i * block);
		}
	}
	before = clock();
	for (i = 0; i < ops; i++) {
		switch (*argv[1]) {
		case 'p': case 'k':
			request(i * block, (i + 1) * block - 1);
			if (*argv[1] == 'p')
				merge(i * block);
			break;
		case 'f': {
			uint64_t a = any(n * block);
			struct node *at = head;

			while (at && at->end < a)
				at = at->next;
			hits += at && at->start <= a;
			break;
		}
		default:
			b = any(n);
			if (used[b])
				release(b * block, (b + 1) * block - 1);
			else {
				request(b * block, (b + 1) * block - 1);
				merge(b * block);
			}
			used[b] ^= 1;
		}
	}
	printf("%.1f\n", (double)(clock() - before) / CLOCKS_PER_SEC * 1e9 / (double)ops);
	return hits > ops;
}
