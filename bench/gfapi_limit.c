/*
 * What this machine leaves to any server between a Gluster volume and TCP: libgfapi's data, sent to and received from a client over one connection as it is,
 * without SCSI and iSCSI. A request is 48 bytes, with the data when it writes; so is an answer, with the data when it reads. Prints operations a second.
 *   gfapi_limit HOST VOLUME PATH read|write BYTES DEPTH SECONDS     (sequential, within 512 MiB)
 * The volume's own threads complete operations; what is completed is sent by the server's thread, as any server does that must not hold the library up.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Of <glusterfs/api/glfs.h>, which Debian has in a package of its own. */
typedef void (*done_fn)(void *file, ssize_t result, void *before, void *after, void *argument);
void *glfs_new(const char *volume);
int glfs_set_volfile_server(void *volume, const char *transport, const char *host, int port);
int glfs_set_logging(void *volume, const char *file, int level);
int glfs_init(void *volume);
void *glfs_open(void *volume, const char *path, int flags);
int glfs_preadv_async(void *file, const struct iovec *vector, int count, off_t offset, int flags, done_fn done, void *argument);
int glfs_pwritev_async(void *file, const struct iovec *vector, int count, off_t offset, int flags, done_fn done, void *argument);

enum { HEADER = 48, DEPTHS = 256 };
static const uint64_t memory = 512UL << 20;
static size_t bytes;
static int depth, writes, wake;
static void *file;
static struct operation { char *data; struct iovec vector; struct operation *next; } operations[DEPTHS];
static struct operation *_Atomic completed;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fail(const char *what) { perror(what); exit(1); }

static int all(int fd, char *data, size_t length, int out)
{
    for (size_t at = 0; at < length;) {
        ssize_t n = out ? send(fd, data + at, length - at, MSG_NOSIGNAL) : recv(fd, data + at, length - at, MSG_WAITALL);
        if (n <= 0) return -1;
        at += (size_t)n;
    }
    return 0;
}

static void done(void *f, ssize_t result, void *before, void *after, void *argument)
{
    struct operation *o = argument;
    uint64_t one = 1;
    (void)f, (void)before, (void)after;
    if (result != (ssize_t)bytes) { fprintf(stderr, "gfapi_limit: an operation moved %zd bytes\n", result); exit(1); }
    o->next = completed;
    while (!__atomic_compare_exchange_n(&completed, &o->next, o, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {}
    if (o->next == NULL && write(wake, &one, 8) != 8) fail("eventfd");
}

static void *server(void *listener)
{
    int fd = accept(*(int *)listener, NULL, NULL), one = 1, free_count = depth;
    struct operation *free_list[DEPTHS];
    uint64_t at = 0, value;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    for (int i = 0; i < depth; i++) {
        operations[i].data = malloc(HEADER + bytes);
        memset(operations[i].data, 1, HEADER + bytes);
        operations[i].vector = (struct iovec){ operations[i].data + HEADER, bytes };
        free_list[i] = &operations[i];
    }
    for (;;) {
        struct pollfd fds[2] = { { wake, POLLIN, 0 }, { free_count > 0 ? fd : -1, POLLIN, 0 } };
        if (poll(fds, 2, -1) < 0) fail("poll");
        if (fds[0].revents != 0 && read(wake, &value, 8) == 8) {
            struct operation *o = __atomic_exchange_n(&completed, NULL, __ATOMIC_ACQ_REL), *next;
            for (; o != NULL; o = next) {
                next = o->next;
                if (all(fd, o->data, writes ? HEADER : HEADER + bytes, 1)) return NULL;
                free_list[free_count++] = o;
            }
        }
        if (fds[1].revents == 0) continue;
        struct operation *o = free_list[--free_count];
        if (all(fd, o->data, writes ? HEADER + bytes : HEADER, 0)) return NULL;
        int error = writes ? glfs_pwritev_async(file, &o->vector, 1, (off_t)at, 0, done, o) : glfs_preadv_async(file, &o->vector, 1, (off_t)at, 0, done, o);
        if (error) fail("gfapi");
        at = (at + bytes) % memory;
    }
}

int main(int argc, char **argv)
{
    if (argc != 8) { fprintf(stderr, "usage: gfapi_limit HOST VOLUME PATH read|write BYTES DEPTH SECONDS\n"); return 2; }
    writes = strcmp(argv[4], "write") == 0;
    bytes = strtoul(argv[5], NULL, 10);
    depth = atoi(argv[6]);
    double seconds = atof(argv[7]);
    if (depth < 1 || depth > DEPTHS || bytes == 0) return 2;
    void *volume = glfs_new(argv[2]);
    if (!volume || glfs_set_volfile_server(volume, "tcp", argv[1], 24007) || glfs_set_logging(volume, "/dev/null", 1) || glfs_init(volume)) fail("volume");
    if (!(file = glfs_open(volume, argv[3], O_RDWR))) fail("file");
    wake = eventfd(0, EFD_NONBLOCK);
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof a;
    if (bind(listener, (void *)&a, sizeof a) || getsockname(listener, (void *)&a, &length) || listen(listener, 1)) fail("listen");
    pthread_t thread;
    pthread_create(&thread, NULL, server, &listener);
    if (connect(fd, (void *)&a, sizeof a)) fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    size_t out = writes ? HEADER + bytes : HEADER, in = writes ? HEADER : HEADER + bytes;
    char *buffer = calloc(1, HEADER + bytes);
    for (int i = 0; i < depth; i++) if (all(fd, buffer, out, 1)) fail("send");
    long count = 0;
    double start = now(), end = start;
    for (; end - start < seconds; end = now(), count++)
        if (all(fd, buffer, in, 0) || all(fd, buffer, out, 1)) fail("connection");
    printf("%.0f\n", (double)count / (end - start));
    return 0;
}
