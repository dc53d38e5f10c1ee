/*
 * A TCMU handler in C for LunKit's target: a disk in memory, over the kernel's own ring ABI (linux/target_core_user.h). What differs from a
 * handler of the kernel's devices is how the ring comes here: by a Unix socket with file descriptors, instead of netlink and /dev/uioN.
 * docs/user-ring.md describes both.
 *
 *   gcc -O2 -o handler handler.c && ./handler /run/lunkit/handlers.sock ram
 *   lunkit serve user:ram/anything,size=64M
 */
#define _GNU_SOURCE
/* The kernel's header brings its own struct iovec, the same as the C library's: one of them is enough. */
#include <linux/target_core_user.h>
#define __iovec_defined 1
#include <endian.h>
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* LunKit's own numbers (docs/user-ring.md): the message type, and what is not in target_core_user.h. */
enum { FAMILY = 0x4C4B, OPEN = 0x40, GRANT = 0x41, REGION_BYTES = 0x40, BLOCK_SIZE = 0x41 };

static int sock;

/* ---- messages: as generic netlink, one in a packet ---- */

struct message { struct nlmsghdr nl; struct genlmsghdr genl; char attributes[2032]; };

static void begin(struct message *m, uint8_t command)
{
    memset(m, 0, sizeof *m);
    m->nl = (struct nlmsghdr){ .nlmsg_len = NLMSG_HDRLEN + GENL_HDRLEN, .nlmsg_type = FAMILY };
    m->genl = (struct genlmsghdr){ .cmd = command, .version = 2 };
}

static void add_u32(struct message *m, uint16_t type, uint32_t value)
{
    struct nlattr *a = (void *)((char *)m + m->nl.nlmsg_len);
    *a = (struct nlattr){ .nla_len = NLA_HDRLEN + 4, .nla_type = type };
    memcpy((char *)a + NLA_HDRLEN, &value, 4);
    m->nl.nlmsg_len += NLA_HDRLEN + 4;
}

static void finish(struct message *m)
{
    if (send(sock, m, m->nl.nlmsg_len, MSG_NOSIGNAL) < 0) { perror("send"); exit(1); }
}

static const void *find(const struct message *m, uint16_t type)
{
    const char *at = m->attributes, *end = (const char *)m + m->nl.nlmsg_len;
    while (end - at >= NLA_HDRLEN) {
        const struct nlattr *a = (const void *)at;
        if (a->nla_len < NLA_HDRLEN || a->nla_len > end - at) return NULL;
        if (a->nla_type == type) return at + NLA_HDRLEN;
        at += NLA_ALIGN(a->nla_len);
    }
    return NULL;
}

static uint32_t u32(const struct message *m, uint16_t type)
{
    uint32_t value = 0;
    const void *at = find(m, type);
    if (at) memcpy(&value, at, 4);
    return value;
}

static uint64_t u64(const struct message *m, uint16_t type)
{
    uint64_t value = 0;
    const void *at = find(m, type);
    if (at) memcpy(&value, at, 8);
    return value;
}

/* The next message and the descriptors with it; exits when the target is gone. */
static void receive(struct message *m, int fds[4])
{
    char control[CMSG_SPACE(8 * sizeof(int))];
    struct iovec iov = { m, sizeof *m };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    memset(m, 0, sizeof *m);
    if (recvmsg(sock, &h, MSG_CMSG_CLOEXEC) <= 0) { fprintf(stderr, "the target is gone\n"); exit(0); }
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(4 * sizeof(int))) memcpy(fds, CMSG_DATA(c), 4 * sizeof(int));
}

/* ---- the disk ---- */

static char *map, *disk;
static uint64_t disk_bytes;
static uint32_t block;

static size_t fill(struct iovec *iov, size_t count, const void *data, size_t length)
{
    size_t done = 0;
    for (size_t i = 0; i < count; i++) {
        size_t n = iov[i].iov_len < length - done ? iov[i].iov_len : length - done;
        memcpy(map + (size_t)iov[i].iov_base, (const char *)data + done, n);
        done += n;
    }
    return done;
}

static int refuse(uint8_t *sense, uint8_t key, uint8_t asc, uint8_t ascq)
{
    sense[0] = 0x70; sense[2] = key; sense[7] = 10; sense[12] = asc; sense[13] = ascq;
    return 2; /* CHECK CONDITION */
}

/* Executes a command; *length is how many bytes the initiator gets. */
static int execute(const uint8_t *cdb, struct iovec *iov, size_t count, uint8_t *sense, size_t *length)
{
    uint8_t data[96] = { 0 };
    uint64_t lba, blocks;
    switch (cdb[0]) {
    case 0x00: case 0x35: case 0x91: return 0; /* TEST UNIT READY, SYNCHRONIZE CACHE */
    case 0x12: /* INQUIRY */
        if (cdb[1] & 1) {
            static const uint8_t pages[] = { 0, 0x00, 0, 1, 0x00 };
            if (cdb[2]) return refuse(sense, 5, 0x24, 0);
            *length = fill(iov, count, pages, sizeof pages);
            return 0;
        }
        data[2] = 6; data[3] = 2; data[4] = 31; data[7] = 2;
        memcpy(data + 8, "SAMPLE  C handler       0001", 28);
        *length = fill(iov, count, data, 36);
        return 0;
    case 0x1A: /* MODE SENSE(6): no pages */
        data[0] = 3;
        *length = fill(iov, count, data, 4);
        return 0;
    case 0x25: /* READ CAPACITY(10) */
        *(uint32_t *)data = htobe32((uint32_t)(disk_bytes / block - 1));
        *(uint32_t *)(data + 4) = htobe32(block);
        *length = fill(iov, count, data, 8);
        return 0;
    case 0x9E: /* READ CAPACITY(16) */
        if ((cdb[1] & 0x1F) != 0x10) return refuse(sense, 5, 0x20, 0);
        *(uint64_t *)data = htobe64(disk_bytes / block - 1);
        *(uint32_t *)(data + 8) = htobe32(block);
        *length = fill(iov, count, data, 32);
        return 0;
    case 0x28: case 0x2A: /* READ(10), WRITE(10) */
        lba = (uint32_t)cdb[2] << 24 | cdb[3] << 16 | cdb[4] << 8 | cdb[5];
        blocks = cdb[7] << 8 | cdb[8];
        break;
    case 0x88: case 0x8A: /* READ(16), WRITE(16) */
        memcpy(&lba, cdb + 2, 8);
        lba = be64toh(lba);
        blocks = (uint32_t)cdb[10] << 24 | cdb[11] << 16 | cdb[12] << 8 | cdb[13];
        break;
    default:
        return refuse(sense, 5, 0x20, 0);
    }
    if (lba > disk_bytes / block || blocks > disk_bytes / block - lba) return refuse(sense, 5, 0x21, 0);
    char *at = disk + lba * block;
    size_t left = blocks * block;
    if (!(cdb[0] & 2)) {
        *length = fill(iov, count, at, left);
        return 0;
    }
    for (size_t i = 0; i < count && left > 0; i++) {
        size_t n = iov[i].iov_len < left ? iov[i].iov_len : left;
        memcpy(at, map + (size_t)iov[i].iov_base, n);
        at += n;
        left -= n;
    }
    return 0;
}

/* ---- the ring ---- */

static void serve(int memory, int to_handler, int to_target, size_t region)
{
    map = mmap(NULL, region, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (map == MAP_FAILED) { perror("mmap"); exit(1); }
    struct tcmu_mailbox *mb = (void *)map;
    if (mb->version != 2) { fprintf(stderr, "mailbox version %u\n", mb->version); exit(1); }
    char *ring = map + mb->cmdr_off;
    uint32_t tail = mb->cmd_tail;
    for (;;) {
        int any = 0;
        while (tail != __atomic_load_n(&mb->cmd_head, __ATOMIC_ACQUIRE)) {
            struct tcmu_cmd_entry *e = (void *)(ring + tail);
            uint32_t length = tcmu_hdr_get_len(e->hdr.len_op), op = tcmu_hdr_get_op(e->hdr.len_op);
            if (op == TCMU_OP_CMD) {
                /* The answer goes over the request: what is needed of it is copied first. */
                size_t count = e->req.iov_cnt, bytes = 0;
                struct iovec iov[count ? count : 1];
                uint8_t cdb[16] = { 0 }, sense[TCMU_SENSE_BUFFERSIZE] = { 0 };
                memcpy(iov, e->req.iov, count * sizeof *iov);
                memcpy(cdb, map + e->req.cdb_off, 16);
                int status = execute(cdb, iov, count, sense, &bytes);
                memset(&e->rsp, 0, sizeof e->rsp);
                e->rsp.scsi_status = (uint8_t)status;
                memcpy(e->rsp.sense_buffer, sense, sizeof sense);
                e->hdr.uflags = 0;
                if (bytes && mb->flags & TCMU_MAILBOX_FLAG_CAP_READ_LEN) {
                    e->rsp.read_len = (uint32_t)bytes;
                    e->hdr.uflags = TCMU_UFLAG_READ_LEN;
                }
            } else if (op != TCMU_OP_PAD && op != TCMU_OP_TMR) {
                e->hdr.uflags |= TCMU_UFLAG_UNKNOWN_OP;
            }
            tail = (tail + length) % mb->cmdr_size;
            __atomic_store_n(&mb->cmd_tail, tail, __ATOMIC_RELEASE);
            any = 1;
        }
        uint64_t one = 1;
        if (any) {
            if (write(to_target, &one, 8) != 8) return;
            continue;
        }
        struct pollfd fds[2] = { { to_handler, POLLIN, 0 }, { sock, POLLIN, 0 } };
        if (poll(fds, 2, -1) < 0 && errno != EINTR) return;
        if (fds[0].revents && read(to_handler, &one, 8) < 0 && errno != EAGAIN) return;
        if (fds[1].revents) {
            /* The device is removed, or the target is gone. */
            struct message m;
            int none[4];
            receive(&m, none);
            if (m.genl.cmd == TCMU_CMD_REMOVED_DEVICE) return;
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) { fprintf(stderr, "usage: handler SOCKET SUBTYPE\n"); return 2; }
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    size_t length = strlen(argv[1]);
    if (length >= sizeof a.sun_path) { fprintf(stderr, "the path is too long\n"); return 2; }
    memcpy(a.sun_path, argv[1], length);
    if (a.sun_path[0] == '@') a.sun_path[0] = 0;
    else length++;
    sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connect(sock, (void *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0) { perror(argv[1]); return 1; }
    /* A target says what is opened, with this process's rights, and anybody can listen at a path that is free. */
    struct ucred target;
    socklen_t size = sizeof target;
    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &target, &size) < 0) { perror("SO_PEERCRED"); return 1; }
    if (target.uid != 0 && target.uid != geteuid()) { fprintf(stderr, "user %u listens there, who is not trusted\n", target.uid); return 1; }
    struct message m, out;
    int fds[4] = { -1, -1, -1, -1 };
    for (;;) {
        receive(&m, fds);
        if (m.genl.cmd == TCMU_CMD_ADDED_DEVICE) {
            /* tcm-user/HBA/NAME/SUBTYPE/PATH */
            char name[512] = "", *rest = name, *part = "";
            const char *found = find(&m, TCMU_ATTR_DEVICE);
            if (found) snprintf(name, sizeof name, "%s", found);
            for (int i = 0; i < 4 && rest; i++) part = strsep(&rest, "/");
            if (!part || strcmp(part, argv[2])) continue;
            begin(&out, OPEN);
            add_u32(&out, TCMU_ATTR_DEVICE_ID, u32(&m, TCMU_ATTR_DEVICE_ID));
            finish(&out);
        } else if (m.genl.cmd == GRANT && u32(&m, TCMU_ATTR_CMD_STATUS) == 0 && fds[3] >= 0) {
            disk_bytes = u64(&m, TCMU_ATTR_DEV_SIZE);
            block = u32(&m, BLOCK_SIZE);
            disk = mmap(NULL, disk_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (disk == MAP_FAILED || !block) { perror("disk"); return 1; }
            begin(&out, TCMU_CMD_ADDED_DEVICE_DONE);
            add_u32(&out, TCMU_ATTR_CMD_STATUS, 0);
            add_u32(&out, TCMU_ATTR_DEVICE_ID, u32(&m, TCMU_ATTR_DEVICE_ID));
            finish(&out);
            printf("serving %s\n", (const char *)find(&m, TCMU_ATTR_DEVICE));
            fflush(stdout);
            serve(fds[0], fds[1], fds[2], u64(&m, REGION_BYTES));
            /* fds[3] is the lease: it is closed, like all else, when this process ends. */
            return 0;
        }
    }
}
