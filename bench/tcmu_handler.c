/*
 * The least that a TCMU handler can cost: one thread, blocking read, pread and pwrite of one file, write. Enough SCSI for the kernel's sd
 * driver, and no more: a floor to measure against, not a handler to use.
 *
 *   tcmu_handler /dev/uioN FILE
 */
#define _DEFAULT_SOURCE
#include <endian.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/target_core_user.h>

static char *map;
static int file;
static uint64_t blocks;

static uint32_t get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return be32toh(v); }
static uint64_t get64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return be64toh(v); }

/* Gives data to the initiator. */
static void give(struct tcmu_cmd_entry *e, struct iovec *iov, int count, const void *data, size_t length)
{
    const char *from = data;
    for (int i = 0; i < count; i++) {
        size_t n = iov[i].iov_len < length ? iov[i].iov_len : length;
        memcpy(map + (size_t)iov[i].iov_base, from, n);
        memset(map + (size_t)iov[i].iov_base + n, 0, iov[i].iov_len - n);
        from += n;
        length -= n;
    }
    (void)e;
}

/* Returns the status; fills the sense when it is CHECK CONDITION. */
static int execute(const uint8_t *cdb, struct iovec *iov, int count, uint8_t *sense)
{
    uint8_t data[96] = {0};
    uint64_t lba = 0;
    uint32_t length = 0;
    switch (cdb[0]) {
    case 0x28: case 0x2a: lba = get32(cdb + 2); length = (uint32_t)cdb[7] << 8 | cdb[8]; break;
    case 0x88: case 0x8a: lba = get64(cdb + 2); length = get32(cdb + 10); break;
    case 0x00: case 0x35: case 0x91: return 0;
    case 0x12:
        if (cdb[1] & 1) goto unknown;
        data[2] = 5; data[3] = 2; data[4] = 31; data[7] = 2;
        memcpy(data + 8, "LUNKIT  Floor           0001", 28);
        give(NULL, iov, count, data, 36);
        return 0;
    case 0x25:
        *(uint32_t *)data = htobe32((uint32_t)(blocks - 1));
        *(uint32_t *)(data + 4) = htobe32(512);
        give(NULL, iov, count, data, 8);
        return 0;
    case 0x9e:
        *(uint64_t *)data = htobe64(blocks - 1);
        *(uint32_t *)(data + 8) = htobe32(512);
        give(NULL, iov, count, data, 32);
        return 0;
    default:
        goto unknown;
    }
    (void)length;
    off_t at = (off_t)(lba * 512);
    int write = (cdb[0] & 0x02) != 0;
    for (int i = 0; i < count; i++) {
        char *p = map + (size_t)iov[i].iov_base;
        ssize_t n = write ? pwrite(file, p, iov[i].iov_len, at) : pread(file, p, iov[i].iov_len, at);
        if (n != (ssize_t)iov[i].iov_len) goto unknown;
        at += n;
    }
    return 0;
unknown:
    memset(sense, 0, 18);
    sense[0] = 0x70; sense[2] = 5; sense[7] = 10; sense[12] = 0x20;
    return 2;
}

int main(int argc, char **argv)
{
    if (argc != 3) { fprintf(stderr, "usage: tcmu_handler /dev/uioN FILE\n"); return 2; }
    int fd = open(argv[1], O_RDWR);
    file = open(argv[2], O_RDWR);
    struct stat st;
    if (fd < 0 || file < 0 || fstat(file, &st)) { perror("open"); return 1; }
    blocks = (uint64_t)st.st_size / 512;
    char path[64];
    snprintf(path, sizeof path, "/sys/class/uio/%s/maps/map0/size", strrchr(argv[1], '/') + 1);
    FILE *f = fopen(path, "r");
    unsigned long size;
    if (!f || fscanf(f, "%lx", &size) != 1) { perror(path); return 1; }
    map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) { perror("mmap"); return 1; }
    struct tcmu_mailbox *mb = (void *)map;
    char *ring = map + mb->cmdr_off;
    puts("ready");
    fflush(stdout);
    uint32_t tail = mb->cmd_tail;
    for (;;) {
        int done = 0;
        while (tail != __atomic_load_n(&mb->cmd_head, __ATOMIC_ACQUIRE)) {
            struct tcmu_cmd_entry *e = (void *)(ring + tail);
            if (tcmu_hdr_get_op(e->hdr.len_op) == TCMU_OP_CMD) {
                uint8_t cdb[32], sense[18] = {0};
                struct iovec iov[256];
                int count = e->req.iov_cnt > 256 ? 256 : (int)e->req.iov_cnt;
                memcpy(cdb, map + e->req.cdb_off, 16);
                memcpy(iov, e->req.iov, sizeof(*iov) * (size_t)count);
                int status = execute(cdb, iov, count, sense);
                e->rsp.scsi_status = (uint8_t)status;
                if (status) memcpy(e->rsp.sense_buffer, sense, sizeof sense);
            }
            tail = (tail + tcmu_hdr_get_len(e->hdr.len_op)) % mb->cmdr_size;
            done = 1;
        }
        if (done) {
            __atomic_store_n(&mb->cmd_tail, tail, __ATOMIC_RELEASE);
            uint32_t one = 0;
            if (write(fd, &one, 4) != 4) return 1;
            continue;
        }
        uint32_t events;
        if (read(fd, &events, 4) != 4) return 1;
    }
}
