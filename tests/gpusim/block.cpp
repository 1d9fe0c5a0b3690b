/*
 * Runs a kernel: blocks one after another in an order drawn by seed, the threads of a block on
 * fibers. A thread runs until it has to wait (barrier, warp) or ends; who is next is drawn among
 * those who can: from one barrier to the next either evenly, or with one warp ahead of all others,
 * or behind them (after Burckhardt et al. 2010, whose priorities find what evenly drawn orders
 * hardly ever do). A fiber is taken only by a thread that starts while others wait, so kernels
 * without barriers cost a function call per thread.
 *
 * Built without sanitizers: it poisons the red zones' bytes of shared memory, and it switches
 * stacks.
 */
#include "fiber.h"
#include "state.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <vector>

/* All __shared__ variables, by shared.ld. */
extern char gpusim_shared_begin[], gpusim_shared_end[];

extern "C" const int warpSize = 32; /* that NVIDIA's header declares */

namespace gpusim
{

struct lane final : place {
    fiber *at = nullptr; /* where it waits; null: not started */
    bool ended = false;
    void *request = nullptr; /* at a meeting of its warp */
};

struct meeting {
    unsigned mask, came;
    resolver resolve;
};

struct warp {
    unsigned alive = 0;
    std::vector<meeting> meetings;
};

/* Lanes that can go on, in no order; a block has 32 warps at most. */
struct ready_lanes {
    std::vector<unsigned> of[32]; /* by warp */
    unsigned warps = 0;           /* bits of those with any */
    unsigned count = 0;

    void add(unsigned lane_of)
    {
        of[lane_of / 32].push_back(lane_of);
        warps |= 1u << lane_of / 32;
        count++;
    }
    unsigned take(unsigned warp_of, unsigned at)
    {
        std::vector<unsigned> &v = of[warp_of];
        unsigned lane_of = v[at];
        v[at] = v.back();
        v.pop_back();
        if (v.empty())
            warps &= ~(1u << warp_of);
        count--;
        return lane_of;
    }
    void clear()
    {
        for (auto &v : of)
            v.clear();
        warps = count = 0;
    }
};

enum class haste { even, ahead, behind }; /* of one warp against the others */

struct running_block {
    call *kernel = nullptr;
    std::vector<lane> lanes;
    std::vector<warp> warps;
    ready_lanes ready;
    haste how = haste::even;       /* until the next barrier */
    unsigned hasty = 0;            /* the warp whose haste it is */
    std::vector<unsigned> waiting; /* at the block's barrier */
    const char *file = nullptr;    /* of that barrier */
    int line = 0;
    int count = 0, last_count = 0; /* of __syncthreads_count */
    unsigned ended = 0;
    char fault[512] = "";
    fiber main;
    fiber *current = nullptr;
    fiber *lost = nullptr; /* of the thread with the fault */
};

static running_block b;
static std::vector<async_copies> copies; /* by thread; empty until a kernel asks */
static char *shared_aligned; /* dynamic; a heap block of its own size, so that overruns are seen */

place *self;
uint3 block_index;
dim3 block_size, grid_size;

void *dynamic_shared()
{
    return shared_aligned;
}

async_copies &copies_of_thread()
{
    if (copies.empty())
        copies.resize(b.lanes.size());
    return copies[self->linear];
}

bool draw()
{
    return random_below(2) == 0;
}

/* ---- switching ---- */

static lane &current()
{
    return *static_cast<lane *>(self);
}

static void go_on_with(lane &l)
{
    self = &l;
}

static void draw_haste()
{
    b.how = (haste)random_below(3);
    b.hasty = random_below((unsigned)b.warps.size());
}

/* Of warps that can go on, the one whose lane is next when all lanes are drawn alike. */
static unsigned draw_evenly(unsigned warps, unsigned *ret_at)
{
    unsigned count = 0, at;
    for (unsigned rest = warps; rest; rest &= rest - 1)
        count += (unsigned)b.ready.of[__builtin_ctz(rest)].size();
    at = random_below(count);
    for (;; warps &= warps - 1) {
        unsigned w = (unsigned)__builtin_ctz(warps), size = (unsigned)b.ready.of[w].size();
        if (at < size) {
            *ret_at = at;
            return w;
        }
        at -= size;
    }
}

static unsigned draw_ready()
{
    unsigned bit = 1u << b.hasty, warps = b.ready.warps, at;
    if (b.how == haste::ahead && (warps & bit))
        warps = bit;
    if (b.how == haste::behind && (warps & ~bit))
        warps &= ~bit;
    unsigned w = draw_evenly(warps, &at);
    return b.ready.take(w, at);
}

static void to_main()
{
    fiber *from = b.current;
    b.current = &b.main;
    fiber_switch(from, &b.main);
}

static void leave_warp(lane &l);

/* Threads end one after another on this fiber until one that waited elsewhere is drawn. */
static void fiber_main()
{
    for (;;) {
        b.kernel->thread();
        lane &l = current();
        l.ended = true;
        b.ended++;
        leave_warp(l);
        if (b.ready.count == 0 || b.fault[0])
            break;
        lane &next = b.lanes[draw_ready()];
        go_on_with(next);
        if (next.at) {
            fiber *from = b.current;
            b.current = next.at;
            next.at = nullptr;
            fiber_release(from);
            fiber_switch(from, b.current);
            abort();
        }
    }
    fiber_release(b.current);
    to_main();
    abort();
}

/* Leaves the current thread waiting; returns when somebody made it ready and it was drawn. */
static void wait()
{
    lane &l = current();
    l.at = b.current;
    if (b.ready.count == 0 || b.fault[0]) {
        to_main();
        return;
    }
    lane &next = b.lanes[draw_ready()];
    if (&next == &l) {
        l.at = nullptr;
        return;
    }
    fiber *from = b.current;
    go_on_with(next);
    b.current = next.at ? next.at : fiber_take(fiber_main);
    next.at = nullptr;
    fiber_switch(from, b.current);
}

/*
 * A fault of the kernel: nothing of this block runs again. The stack is left as it is, so nothing
 * on it may own memory.
 */
__attribute__((format(printf, 1, 2))) [[noreturn]] static void give_up(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(b.fault, sizeof b.fault, format, arguments);
    va_end(arguments);
    b.lost = b.current;
    to_main();
    abort();
}

struct who {
    char text[120];
    explicit who(const lane &l)
    {
        snprintf(text, sizeof text, "thread (%u,%u,%u) of block (%u,%u,%u)", l.index.x, l.index.y,
                 l.index.z, block_index.x, block_index.y, block_index.z);
    }
};

void trap(const char *what)
{
    give_up("%s by %s", what, who(current()).text);
}

/* ---- the block's barrier ---- */

int block_count(int predicate, const char *file, int line)
{
    if (b.waiting.empty()) {
        b.file = file;
        b.line = line;
        b.count = 0;
    } else if (b.line != line || std::strcmp(b.file, file) != 0) {
        give_up("divergent barrier: %s is at %s:%d, others wait at %s:%d", who(current()).text,
                file, line, b.file, b.line);
    }
    b.count += predicate != 0;
    b.waiting.push_back(current().linear);
    if (b.waiting.size() == b.lanes.size()) {
        b.last_count = b.count;
        for (unsigned lane_of : b.waiting)
            b.ready.add(lane_of);
        b.waiting.clear();
        draw_haste();
    }
    wait();
    return b.last_count;
}

void block_barrier(const char *file, int line)
{
    block_count(0, file, line);
}

/* ---- meetings of a warp ---- */

static void hold(warp &w, size_t i, unsigned first)
{
    meeting m = w.meetings[i];
    w.meetings.erase(w.meetings.begin() + (long)i);
    void *requests[32] = {};
    for (unsigned lane_of = 0; lane_of < 32; lane_of++) {
        if (m.came >> lane_of & 1)
            requests[lane_of] = b.lanes[first + lane_of].request;
    }
    m.resolve(requests, m.came);
    for (unsigned lane_of = 0; lane_of < 32; lane_of++) {
        if (m.came >> lane_of & 1)
            b.ready.add(first + lane_of);
    }
}

static void leave_warp(lane &l)
{
    warp &w = b.warps[l.linear / 32];
    w.alive &= ~(1u << l.linear % 32);
    for (size_t i = 0; i < w.meetings.size(); i++) {
        if (w.meetings[i].came == (w.meetings[i].mask & w.alive)) {
            hold(w, i, l.linear & ~31u);
            i = (size_t)-1;
        }
    }
}

void warp_meet(unsigned mask, resolver resolve, void *request)
{
    lane &l = current();
    unsigned bit = 1u << l.linear % 32;
    warp &w = b.warps[l.linear / 32];
    if (!(mask & bit))
        give_up("a warp's mask without the caller: %s", who(l).text);
    size_t i = 0;
    while (i < w.meetings.size() && w.meetings[i].mask != mask)
        i++;
    if (i == w.meetings.size())
        w.meetings.push_back({mask, 0, resolve});
    if (w.meetings[i].resolve != resolve)
        give_up("lanes of one warp meet for different operations: %s", who(l).text);
    l.request = request;
    w.meetings[i].came |= bit;
    if (w.meetings[i].came == (mask & w.alive))
        hold(w, i, l.linear & ~31u);
    wait();
}

void vote::resolve(void *requests[32], unsigned came)
{
    unsigned ballot = 0;
    for (unsigned i = 0; i < 32; i++) {
        if ((came >> i & 1) && static_cast<vote *>(requests[i])->predicate)
            ballot |= 1u << i;
    }
    for (unsigned i = 0; i < 32; i++) {
        if (came >> i & 1) {
            static_cast<vote *>(requests[i])->ballot = ballot;
            static_cast<vote *>(requests[i])->came = came;
        }
    }
}

/* ---- a block ---- */

/* Not memset: the sanitizer's, which would refuse the red zones between the variables. */
__attribute__((optimize("no-tree-loop-distribute-patterns"))) static void poison(char *from,
                                                                                 char *end)
{
    for (; from < end; from++)
        *from = (char)0xff;
}

static void prepare(call &c)
{
    unsigned n = c.block.x * c.block.y * c.block.z;
    b.kernel = &c;
    b.lanes.assign(n, lane{});
    b.warps.assign((n + 31) / 32, warp{});
    b.ready.clear();
    b.waiting.clear();
    copies.clear();
    b.ended = 0;
    b.fault[0] = 0;
    for (unsigned i = 0; i < n; i++) {
        lane &l = b.lanes[i];
        l.linear = i;
        l.index = {i % c.block.x, i / c.block.x % c.block.y, i / (c.block.x * c.block.y)};
        b.warps[i / 32].alive |= 1u << i % 32;
        b.ready.add(i);
    }
    draw_haste();
    poison(gpusim_shared_begin, gpusim_shared_end);
    poison(shared_aligned, shared_aligned + c.shared);
}

/* Nobody can go on: all have ended, or some wait for what cannot come. */
static void find_stall()
{
    size_t n = b.lanes.size();
    if (b.fault[0] || b.ended == n)
        return;
    char at[256] = "";
    if (!b.waiting.empty())
        snprintf(at, sizeof at, " at %.200s:%d", b.file, b.line);
    snprintf(b.fault, sizeof b.fault,
             "divergent barrier: of %zu threads of block (%u,%u,%u) %zu wait%s, %u have ended, %zu "
             "wait for lanes of their warp",
             n, block_index.x, block_index.y, block_index.z, b.waiting.size(), at, b.ended,
             n - b.ended - b.waiting.size());
}

static void run_block(call &c)
{
    prepare(c);
    go_on_with(b.lanes[draw_ready()]);
    b.current = fiber_take(fiber_main);
    fiber_switch(&b.main, b.current);
    find_stall();
    if (!b.fault[0])
        return;
    for (lane &l : b.lanes) {
        if (l.at)
            fiber_abandon(l.at);
    }
    if (b.lost)
        fiber_abandon(b.lost);
    b.lost = nullptr;
}

/* All numbers below n once: i * step + start, step without a divisor of n. */
struct shuffled {
    uint64_t n, step = 1, start = 0;

    explicit shuffled(uint64_t count) : n(count)
    {
        if (n < 2)
            return;
        start = next_random() % n;
        do {
            step = next_random() % n;
        } while (step == 0 || gcd(step, n) != 1);
    }
    static uint64_t gcd(uint64_t x, uint64_t y)
    {
        return y ? gcd(y, x % y) : x;
    }
    uint64_t operator[](uint64_t i) const
    {
        return (uint64_t)((unsigned __int128)i * step % n + start) % n;
    }
};

void run(call &c)
{
    block_size = c.block;
    grid_size = c.grid;
    if (posix_memalign((void **)&shared_aligned, 128, c.shared) != 0)
        abort();
    uint64_t n = (uint64_t)c.grid.x * c.grid.y * c.grid.z;
    shuffled order(n);
    for (uint64_t i = 0; i < n && !b.fault[0]; i++) {
        uint64_t at = order[i];
        block_index = {(unsigned)(at % c.grid.x), (unsigned)(at / c.grid.x % c.grid.y),
                       (unsigned)(at / ((uint64_t)c.grid.x * c.grid.y))};
        run_block(c);
    }
    if (b.fault[0])
        fail_device(cudaErrorLaunchFailure, "kernel %s: %s", c.name, b.fault);
    b.fault[0] = 0;
    free(shared_aligned);
    shared_aligned = nullptr;
}

} // namespace gpusim
