/*
 * The same as LunKit.Benchmarks' ring, in C: a producer that keeps a private shadow of its entries, and a consumer in another process; the kernel's
 * layout (linux/target_core_user.h), LunKit's watch words, the same bounded looking before sleeping. Prints round trips a second.
 *   ring DEPTH SECONDS [WARM-SECONDS]
 */
#define _GNU_SOURCE
#include <linux/target_core_user.h>
#define __iovec_defined 1
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { RING = 256 * 1024, BLOCK = 4096, MAX = 1024, SIZE = RING - 128, SLEEPS = 1, LOOKS = 2, MAX_US = 100, MIN_US = 3 };
struct origin { uint64_t initiator, tag; uint16_t port, lun; uint8_t attribute; uint32_t out; uint32_t pad; };

static volatile uint64_t origins;
static char *map;
static struct tcmu_mailbox *mb;
static uint32_t *producer_watch, *consumer_watch;
static int to_handler, to_target;

/* Each side has a processor of its own: where the scheduler puts them decides more than what they do. */
static void pin(int processor) { cpu_set_t set; CPU_ZERO(&set); CPU_SET(processor, &set); sched_setaffinity(0, sizeof set, &set); }
static uint64_t now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec; }
static uint32_t acquire(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static void release(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static void fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
#if defined(__x86_64__)
static void pause_a_little(void) { __builtin_ia32_pause(); }
#else
static void pause_a_little(void) { __asm__ volatile("yield"); }
#endif
static void ring_bell(int fd) { uint64_t one = 1; if (write(fd, &one, 8) != 8) exit(1); }
static void wait_bell(int fd, int ms) { struct pollfd p = { fd, POLLIN, 0 }; uint64_t v; if (poll(&p, 1, ms) > 0 && read(fd, &v, 8) != 8) exit(1); }

struct spin { int us, sleeps; };
static int look(struct spin *s, const uint32_t *word, uint32_t old)
{
    if (s->us <= MIN_US && ++s->sleeps % 16 != 0) return -1;
    int us = s->us > MAX_US / 4 ? s->us : MAX_US / 4;
    uint64_t time = now(), end = time + (uint64_t)us * 1000, yielded = time;
    do {
        if (acquire(word) != old) { s->us = s->us * 2 + 1 > MAX_US ? MAX_US : s->us * 2 + 1; return 0; }
        if (time - yielded < 1000) pause_a_little(); else { sched_yield(); yielded = time; }
        time = now();
    } while (time < end);
    s->us /= 2;
    return -1;
}

static void consumer(void)
{
    char *base = map + 128;
    uint32_t cursor = 0, published = 0;
    struct spin s = { MAX_US / 2, 0 };
    uint8_t cdb[16];
    struct iovec iov[16];
    for (;;) {
        int done = 0;
        uint32_t head;
        while ((head = acquire(&mb->cmd_head)) != cursor) {
            struct tcmu_cmd_entry *e = (void *)(base + cursor);
            uint32_t length = tcmu_hdr_get_len(e->hdr.len_op);
            if (head >= SIZE || head % 8 || length < 8 || length > (head > cursor ? head : SIZE) - cursor) exit(3);
            if (tcmu_hdr_get_op(e->hdr.len_op) == TCMU_OP_CMD) {
                uint32_t n = e->req.iov_cnt;
                uint64_t at = e->req.cdb_off;
                if (n > 16 || 48 + n * 16 > length || at < 128 + cursor + 48 + n * 16 + 32 || at + 10 > 128 + cursor + length) exit(3);
                memcpy(cdb, map + at, 10);
                memcpy(iov, e->req.iov, n * sizeof *iov);
                if ((uint64_t)iov[0].iov_base < RING || (uint64_t)iov[0].iov_base + iov[0].iov_len > RING + MAX * BLOCK) exit(3);
                struct origin o;
                memcpy(&o, &e->req.iov[1], sizeof o);
                origins += o.tag;
                uint32_t number = (uint32_t)cdb[2] << 24 | cdb[3] << 16 | cdb[4] << 8 | cdb[5];
                memcpy(map + (size_t)iov[0].iov_base, &number, 4);
                uint16_t id = e->hdr.cmd_id;
                e->hdr.cmd_id = id;
                e->hdr.uflags = 0;
                e->rsp.scsi_status = 0;
                e->rsp.read_len = 0;
                memset(e->rsp.sense_buffer, 0, sizeof e->rsp.sense_buffer);
            }
            cursor = cursor + length == SIZE ? 0 : cursor + length;
            if (++done % 16 == 0) { release(&mb->cmd_tail, published = cursor); fence(); if (acquire(producer_watch) != LOOKS) ring_bell(to_target); }
        }
        if (published != cursor) { release(&mb->cmd_tail, published = cursor); fence(); if (acquire(producer_watch) != LOOKS) ring_bell(to_target); }
        if (done || look(&s, &mb->cmd_head, cursor) == 0) continue;
        release(consumer_watch, SLEEPS);
        fence();
        if (acquire(&mb->cmd_head) == cursor) wait_bell(to_handler, 1000);
        release(consumer_watch, LOOKS);
        fence();
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) { fprintf(stderr, "usage: ring DEPTH SECONDS [WARM-SECONDS]\n"); return 2; }
    int depth = atoi(argv[1]);
    double seconds = atof(argv[2]), warm = argc > 3 ? atof(argv[3]) : 1;
    map = mmap(NULL, RING + MAX * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    mb = (void *)map;
    producer_watch = (void *)(map + 16);
    consumer_watch = (void *)(map + 72);
    mb->version = 2; mb->cmdr_off = 128; mb->cmdr_size = SIZE; mb->flags = 15;
    to_handler = eventfd(0, EFD_NONBLOCK);
    to_target = eventfd(0, EFD_NONBLOCK);
    pid_t child = fork();
    pin(child == 0 ? 1 : 0);
    if (child == 0) { prctl(PR_SET_PDEATHSIG, SIGKILL); consumer(); }
    static struct { uint32_t at, length, command; } slots[4 * MAX];
    static uint16_t ids[MAX];
    static uint8_t state[MAX + 1];
    static int slot_of[MAX + 1], free_slots[MAX];
    static uint32_t number_of[MAX + 1];
    unsigned first = 0, last = 0;
    int nids = 0, nfree = 0;
    for (int i = MAX; i > 0; i--) ids[nids++] = (uint16_t)i;
    for (int i = 0; i < depth; i++) free_slots[nfree++] = i;
    uint32_t head = 0, shown = 0, cleaned = 0, number = 0;
    long completed = 0, errors = 0;
    struct spin s = { MAX_US / 2, 0 };
    uint64_t start = now(), measured = 0;
    char sense[96];
    for (;;) {
        uint64_t t = now();
        if (!measured && (double)(t - start) / 1e9 > warm) { measured = t; completed = 0; }
        if (measured && (double)(t - measured) / 1e9 >= seconds) { printf("%.0f\n", completed / ((double)(t - measured) / 1e9)); kill(child, SIGKILL); return errors != 0; }
        while (nfree) {
            const uint32_t length = 112 + 16;
            uint32_t used = head >= cleaned ? head - cleaned : head + SIZE - cleaned, end = SIZE - head, needed = length <= end ? length : end + length;
            if (SIZE - used - 1 < needed || !nids) break;
            if (length > end) {
                struct tcmu_cmd_entry_hdr pad = { .len_op = end };
                memcpy(map + 128 + head, &pad, 8);
                slots[last % (4 * MAX)].at = head; slots[last % (4 * MAX)].length = end; slots[last++ % (4 * MAX)].command = 0;
                head = 0;
            }
            int slot = free_slots[--nfree];
            uint16_t id = ids[--nids];
            state[id] = 1;
            struct tcmu_cmd_entry *e = (void *)(map + 128 + head);
            memset(e, 0, 112);
            e->hdr.len_op = length | TCMU_OP_CMD;
            e->hdr.cmd_id = id;
            e->req.iov_cnt = 1;
            e->req.cdb_off = 128 + head + 112;
            e->req.iov[0].iov_base = (void *)(uintptr_t)(RING + slot * BLOCK);
            e->req.iov[0].iov_len = BLOCK;
            number++;
            uint8_t cdb[16] = { 0x28, 0, number >> 24, number >> 16, number >> 8, number, 0, 0, 8 };
            memcpy((char *)e + 112, cdb, 16);
            struct origin o = { .initiator = 1, .tag = number };
            memcpy(&e->req.iov[1], &o, 32);
            slot_of[id] = slot; number_of[id] = number;
            slots[last % (4 * MAX)].at = head; slots[last % (4 * MAX)].length = length; slots[last++ % (4 * MAX)].command = 1;
            head = head + length == SIZE ? 0 : head + length;
        }
        if (shown != head) { release(&mb->cmd_head, shown = head); fence(); if (acquire(consumer_watch) != LOOKS) ring_bell(to_handler); }
        if (acquire(&mb->cmd_tail) == cleaned && look(&s, &mb->cmd_tail, cleaned) < 0) {
            release(producer_watch, SLEEPS);
            fence();
            if (acquire(&mb->cmd_tail) == cleaned) wait_bell(to_target, 100);
            release(producer_watch, LOOKS);
            fence();
        }
        uint32_t tail = acquire(&mb->cmd_tail), at = cleaned;
        if (tail == cleaned) continue;
        /* Only a tail at an entry's end is believed. */
        for (unsigned i = first;; i++) {
            if (i == last) exit(4);
            at = slots[i % (4 * MAX)].at + slots[i % (4 * MAX)].length;
            if (at == SIZE) at = 0;
            if (at == tail) break;
        }
        while (cleaned != tail) {
            uint32_t from = slots[first % (4 * MAX)].at, length = slots[first % (4 * MAX)].length, command = slots[first++ % (4 * MAX)].command;
            cleaned = from + length == SIZE ? 0 : from + length;
            if (!command) continue;
            struct tcmu_cmd_entry *e = (void *)(map + 128 + from);
            uint16_t id = e->hdr.cmd_id;
            memcpy(sense, e->rsp.sense_buffer, 96);
            if (id > MAX || state[id] != 1) exit(4);
            state[id] = 0;
            ids[nids++] = id;
            uint32_t seen;
            memcpy(&seen, map + RING + slot_of[id] * BLOCK, 4);
            if (seen != number_of[id]) errors++;
            free_slots[nfree++] = slot_of[id];
            completed++;
        }
    }
}
