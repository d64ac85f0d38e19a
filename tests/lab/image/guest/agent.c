/* The lab guest's only program: it proves, to somebody outside, that no acknowledged write was lost.
 *
 * Three processes share one page:
 *   heartbeat  writes a numbered record to the first disk (O_DIRECT|O_DSYNC) and only then broadcasts it.
 *              At boot the number goes on from the disk, so a lost acknowledged record shows as a number
 *              that is seen twice.
 *   writer     rewrites pseudo-random blocks on the second disk, spread from its first byte to its last,
 *              and broadcasts each one the disk has acknowledged.
 *   listener   answers "verify" by reading every block back past the cache, and "rate" by changing rates.
 * Everything is a raw broadcast UDP frame: no address, no route and no ARP to lose in a migration.
 *
 * usage: agent NAME SEED HEARTBEATS_PER_S WRITES_PER_S HEARTBEAT_PATH HEARTBEAT_OFFSET [BLOCK_DEVICE]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RECORD_BYTES 4096
#define RECORDS 64
#define GAPS 100
#define BLOCK_BYTES 16384
#define BLOCKS 512
#define PORT_REPORTS 7000
#define PORT_REQUESTS 7002
#define FRAME_HEADER 42
#define TEXT_MAX 1400

struct record { char magic[8]; uint64_t number, wall_ns, monotonic_ns, boot_id; uint32_t crc; };
struct block { char magic[8]; uint64_t seed, block, generation; uint64_t body[(BLOCK_BYTES - 32) / 8]; };
struct shared { volatile uint64_t heartbeats_per_s, writes_per_s; };

static struct shared *shared;
static const char *name, *heartbeat_path, *block_path;
static uint64_t seed, boot_id, heartbeat_offset, disk_bytes;
static int net = -1;
static struct sockaddr_ll everyone;
static unsigned char mac[6];
static uint32_t crc_table[256];

static uint32_t crc32_of(const void *data, size_t length) {
    const unsigned char *p = data;
    uint32_t c = 0xffffffffu;
    if (!crc_table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t r = i;
            for (int k = 0; k < 8; k++) r = r & 1 ? 0xedb88320u ^ (r >> 1) : r >> 1;
            crc_table[i] = r;
        }
    while (length--) c = crc_table[(c ^ *p++) & 0xff] ^ (c >> 8);
    return c ^ 0xffffffffu;
}

static uint64_t now_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static void sleep_ns(uint64_t ns) {
    struct timespec t = { ns / 1000000000u, ns % 1000000000u };
    nanosleep(&t, NULL);
}

static void open_network(void) {
    struct ifreq request = { 0 };
    net = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_IP));
    strcpy(request.ifr_name, "eth0");
    if (net < 0 || ioctl(net, SIOCGIFINDEX, &request)) { perror("eth0"); return; }
    everyone.sll_family = AF_PACKET;
    everyone.sll_protocol = htons(ETH_P_IP);
    everyone.sll_ifindex = request.ifr_ifindex;
    everyone.sll_halen = 6;
    memset(everyone.sll_addr, 0xff, 6);
    bind(net, (struct sockaddr *)&everyone, sizeof everyone);
    ioctl(net, SIOCGIFHWADDR, &request);
    memcpy(mac, request.ifr_hwaddr.sa_data, 6);
}

/* Broadcast one line of text. A failure is not repeated: the gap is what the observer is there to see. */
static void report(const char *format, ...) {
    unsigned char frame[FRAME_HEADER + TEXT_MAX] = { 0 };
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf((char *)frame + FRAME_HEADER, TEXT_MAX, format, arguments);
    va_end(arguments);
    if (length >= TEXT_MAX) length = TEXT_MAX - 1;
    memset(frame, 0xff, 6);
    memcpy(frame + 6, mac, 6);
    frame[12] = 8;
    unsigned char *ip = frame + 14, *udp = frame + 34;
    ip[0] = 0x45;
    ip[2] = (28 + length) >> 8;
    ip[3] = 28 + length;
    ip[8] = 64;
    ip[9] = 17;
    memset(ip + 16, 0xff, 4);
    uint32_t sum = 0;
    for (int i = 0; i < 20; i += 2) sum += ip[i] << 8 | ip[i + 1];
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    ip[10] = ~sum >> 8;
    ip[11] = ~sum;
    udp[0] = udp[2] = PORT_REPORTS >> 8;
    udp[1] = udp[3] = PORT_REPORTS & 0xff;
    udp[4] = (8 + length) >> 8;
    udp[5] = 8 + length;
    sendto(net, frame, FRAME_HEADER + length, 0, (struct sockaddr *)&everyone, sizeof everyone);
}

static int transfer(int fd, void *buffer, size_t length, uint64_t offset, int writing) {
    ssize_t done = writing ? pwrite(fd, buffer, length, offset) : pread(fd, buffer, length, offset);
    return done == (ssize_t)length ? 0 : -1;
}

static void *aligned(size_t length) {
    void *buffer = NULL;
    if (posix_memalign(&buffer, 4096, length)) _exit(3);
    return memset(buffer, 0, length);
}

static int open_direct(const char *path, int flags) {
    int fd;
    while ((fd = open(path, flags | O_DIRECT)) < 0) {
        printf("agent: %s: %s\n", path, strerror(errno));
        sleep_ns(1000000000u);
    }
    return fd;
}

/* The highest sound heartbeat number on the disk; 0 when there is none. */
static uint64_t last_heartbeat(int fd, struct record *record) {
    uint64_t last = 0;
    for (int i = 0; i < RECORDS; i++) {
        if (transfer(fd, record, RECORD_BYTES, heartbeat_offset + i * RECORD_BYTES, 0)) continue;
        if (memcmp(record->magic, "XRHEART1", 8) || record->crc != crc32_of(record, 40)) continue;
        if (record->number > last) last = record->number;
    }
    return last;
}

static void heartbeat(void) {
    struct record *record = aligned(RECORD_BYTES);
    int fd = open_direct(heartbeat_path, O_RDWR | O_DSYNC);
    uint64_t number = last_heartbeat(fd, record) + 1, due = now_ns(CLOCK_MONOTONIC);
    uint64_t gaps[GAPS] = { 0 }, before = 0;
    for (;;) {
        uint64_t period = 1000000000u / (shared->heartbeats_per_s ? shared->heartbeats_per_s : 1);
        uint64_t offset = heartbeat_offset + number % RECORDS * RECORD_BYTES;
        memcpy(record->magic, "XRHEART1", 8);
        record->number = number;
        record->wall_ns = now_ns(CLOCK_REALTIME);
        record->monotonic_ns = now_ns(CLOCK_MONOTONIC);
        record->boot_id = boot_id;
        record->crc = crc32_of(record, 40);
        if (transfer(fd, record, RECORD_BYTES, offset, 1)) {
            report("error name=%s boot=%016lx what=heartbeat number=%lu errno=%d", name, boot_id, number, errno);
        } else {
            /* The first frames after a freeze are often lost with the network card, so each frame carries the
             * longest of the last gaps, and the number of the heartbeat that ended it. */
            uint64_t uptime = now_ns(CLOCK_BOOTTIME), longest = number;
            gaps[number % GAPS] = before ? uptime - before : 0;
            before = uptime;
            for (uint64_t n = number; n > 0 && n + GAPS > number; n--)
                if (gaps[n % GAPS] > gaps[longest % GAPS]) longest = n;
            report("heartbeat name=%s boot=%016lx number=%lu wall=%lu monotonic=%lu uptime=%lu gap=%lu gap_at=%lu", name,
                   boot_id, number, record->wall_ns, record->monotonic_ns, uptime, gaps[longest % GAPS], longest);
            if (number % 10 == 0) printf("heartbeat %lu\n", number);
            number++;
        }
        due += period;
        uint64_t now = now_ns(CLOCK_MONOTONIC);
        if (now < due) sleep_ns(due - now);
        else due = now; /* after a freeze go on at the rate, do not catch up in a burst */
    }
}

static uint64_t block_offset(uint64_t block) {
    if (block == BLOCKS - 1) return (disk_bytes - BLOCK_BYTES) & ~4095ull;
    return block * (disk_bytes - BLOCK_BYTES) / (BLOCKS - 1) & ~4095ull;
}

static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* A block's whole content follows from (seed, block, generation). */
static void fill(struct block *b, uint64_t block, uint64_t generation) {
    uint64_t state = seed ^ block * 0xd1342543de82ef95ull ^ generation * 0xaf251af3b0f025b5ull;
    memcpy(b->magic, "XRBLOCK1", 8);
    b->seed = seed;
    b->block = block;
    b->generation = generation;
    for (size_t i = 0; i < sizeof b->body / 8; i++) b->body[i] = next_random(&state);
}

static int sound(struct block *b, struct block *scratch, uint64_t block) {
    if (memcmp(b->magic, "XRBLOCK1", 8) || b->seed != seed || b->block != block) return 0;
    fill(scratch, block, b->generation);
    return !memcmp(b, scratch, BLOCK_BYTES);
}

static int write_block(int fd, struct block *b, uint64_t block, uint64_t generation) {
    fill(b, block, generation);
    if (transfer(fd, b, BLOCK_BYTES, block_offset(block), 1)) {
        report("error name=%s boot=%016lx what=block number=%lu errno=%d", name, boot_id, block, errno);
        return -1;
    }
    report("block name=%s boot=%016lx block=%lu generation=%lu offset=%lu crc=%08x", name, boot_id, block, generation,
           block_offset(block), crc32_of(b, BLOCK_BYTES));
    return 0;
}

static void writer(void) {
    struct block *b = aligned(BLOCK_BYTES);
    int fd = open_direct(block_path, O_RDWR | O_DSYNC);
    uint64_t generation = 0, random = boot_id;
    for (uint64_t i = 0; i < BLOCKS; i++) {
        if (transfer(fd, b, BLOCK_BYTES, block_offset(i), 0) || memcmp(b->magic, "XRBLOCK1", 8) || b->seed != seed)
            write_block(fd, b, i, 1);
        if (b->generation > generation) generation = b->generation;
    }
    for (;;) {
        uint64_t rate = shared->writes_per_s;
        if (rate && !write_block(fd, b, next_random(&random) % BLOCKS, generation + 1)) generation++;
        sleep_ns(1000000000u / (rate ? rate : 1));
    }
}

static void verify(const char *id) {
    static struct block *b, *scratch;
    char text[TEXT_MAX];
    int length = 0, part = 0;
    uint64_t heartbeats;
    if (!b) { b = aligned(BLOCK_BYTES); scratch = aligned(BLOCK_BYTES); }
    int fd = open_direct(heartbeat_path, O_RDONLY);
    heartbeats = last_heartbeat(fd, (struct record *)scratch);
    close(fd);
    fd = block_path ? open_direct(block_path, O_RDONLY) : -1;
    for (uint64_t i = 0; fd >= 0 && i < BLOCKS; i++) {
        int bad = transfer(fd, b, BLOCK_BYTES, block_offset(i), 0);
        int good = !bad && sound(b, scratch, i);
        length += snprintf(text + length, sizeof text - length, "%s%lu:%lu:%08x:%d", length ? "," : "", i,
                           bad ? 0 : b->generation, bad ? 0 : crc32_of(b, BLOCK_BYTES), good);
        if (length > 1000 || i == BLOCKS - 1) {
            report("verified name=%s boot=%016lx id=%s total=%d heartbeat=%lu part=%d blocks=%s", name, boot_id, id, BLOCKS,
                   heartbeats, part++, text);
            length = 0;
        }
    }
    if (fd >= 0) close(fd);
    else report("verified name=%s boot=%016lx id=%s total=0 heartbeat=%lu part=0 blocks=", name, boot_id, id, heartbeats);
}

static void listener(void) {
    unsigned char frame[2048];
    char who[64], id[64];
    unsigned long heartbeats, writes;
    for (;;) {
        ssize_t length = recv(net, frame, sizeof frame - 1, 0);
        if (length < 0) sleep_ns(100000000u); /* the interface is down for a moment while it changes host */
        if (length <= FRAME_HEADER || frame[36] != PORT_REQUESTS >> 8 || frame[37] != (PORT_REQUESTS & 0xff)) continue;
        frame[length] = 0;
        const char *text = (const char *)frame + FRAME_HEADER;
        if (sscanf(text, "verify name=%63s id=%63s", who, id) == 2 && !strcmp(who, name)) verify(id);
        if (sscanf(text, "rate name=%63s heartbeats=%lu writes=%lu", who, &heartbeats, &writes) == 3 && !strcmp(who, name)) {
            shared->heartbeats_per_s = heartbeats;
            shared->writes_per_s = writes;
        }
    }
}

static void start(void (*body)(void)) {
    if (fork() == 0) { body(); _exit(0); }
}

int main(int argc, char **argv) {
    if (argc < 7) return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    name = argv[1];
    seed = strtoull(argv[2], NULL, 0);
    shared->heartbeats_per_s = strtoull(argv[3], NULL, 0);
    shared->writes_per_s = strtoull(argv[4], NULL, 0);
    heartbeat_path = argv[5];
    heartbeat_offset = strtoull(argv[6], NULL, 0);
    block_path = argc > 7 ? argv[7] : NULL;
    if (getrandom(&boot_id, sizeof boot_id, GRND_NONBLOCK) < 0) boot_id = now_ns(CLOCK_REALTIME) * 0x9e3779b97f4a7c15ull;
    open_network();
    if (block_path) {
        int fd = open_direct(block_path, O_RDONLY);
        if (ioctl(fd, BLKGETSIZE64, &disk_bytes)) { perror(block_path); return 4; }
        close(fd);
    }
    start(heartbeat);
    if (block_path) start(writer);
    start(listener);
    while (wait(NULL) > 0) printf("agent: a process ended\n");
    return 5;
}
