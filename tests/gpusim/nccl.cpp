/*
 * NCCL between processes of one machine: sums, gathers, broadcasts, sends and receives, queued in
 * emulated streams. Sums are float32 in the order of ranks, rounded once. Members that call
 * different things, or with different sizes, get ncclInvalidUsage instead of NCCL's hang or
 * garbage; a member that died is not noticed, as NCCL over shared memory does not: its peers wait
 * until somebody aborts. Calls can be captured; graphs that hold some must go before their
 * communicator ends.
 */
#include "nccl_link.h"
#include "numbers.h"
#include "state.h"

#include <nccl.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <sys/random.h>
#include <unistd.h>

using namespace gpusim;

enum kind : uint32_t { SUM, GATHER, BROADCAST, POINT };

struct comm_state {
    int rank = 0, size = 0;
    std::string name;
    int listener = -1;
    std::vector<gpusim::link> links; /* by rank; one's own only delivers */
    bool blocking = true, ready = false, aborted = false, finalized = false;
    int pending = 0; /* queued and not done */
    int graphs = 0;  /* captured groups of calls that are alive, in a graph or on their way */
    bool connected = false; /* its first call was taken, which takes memory */
    ncclResult_t error = ncclSuccess;

    void advance();
    bool flushed() const;
    void close_down();
};

struct ncclComm {
    std::shared_ptr<comm_state> state;
};

static std::set<comm_state *> all;
static std::string last_words;

static ncclResult_t refuse(ncclResult_t code, const std::string &why)
{
    last_words = why;
    fail(cudaSuccess, "NCCL: %s", why.c_str());
    return code;
}

/* ncclSuccess, or the failure planned for this call; NCCL tells of memory in its words alone. */
static ncclResult_t asked_of_nccl(const char *call, bool takes_memory = false)
{
    cudaError_t e = asked(call, takes_memory);
    if (!e)
        return ncclSuccess;
    forget_last_error();
    if (e == cudaErrorMemoryAllocation)
        return refuse(ncclUnhandledCudaError, "Failed to CUDA malloc 1048576 bytes");
    return device_error() ? ncclUnhandledCudaError : refuse(ncclSystemError, "planned");
}

/* ---- a communicator ---- */

static std::string name_of(const std::string &base, int rank)
{
    return base + "-" + std::to_string(rank);
}

/* Connects to those before, hears from those behind. */
void comm_state::advance()
{
    for (int r = 0; r < rank; r++) {
        if (links[(size_t)r].fd < 0)
            links[(size_t)r].fd = connect_to(name_of(name, r), rank);
    }
    int from = -1;
    for (int fd; (fd = accept_from(listener, &from)) >= 0;) {
        if (from <= rank || from >= size || links[(size_t)from].fd >= 0)
            close(fd);
        else
            links[(size_t)from].fd = fd;
    }
    ready = true;
    for (int r = 0; r < size; r++)
        ready = ready && (r == rank || links[(size_t)r].fd >= 0);
    if (ready) {
        close(listener);
        listener = -1;
    }
}

bool comm_state::flushed() const
{
    return std::all_of(links.begin(), links.end(), [](const auto &l) { return l.flushed(); });
}

void comm_state::close_down()
{
    if (listener >= 0)
        close(listener);
    listener = -1;
    for (auto &l : links)
        l.close_down();
    all.erase(this);
}

/* Waits a moment for news of any member, without the lock; false: no communicator waits. */
static bool wait_for_members()
{
    std::vector<pollfd> fds;
    bool waits = false;
    for (comm_state *c : all) {
        waits = waits || c->pending > 0 || !c->ready || !c->flushed();
        if (c->listener >= 0)
            fds.push_back({c->listener, POLLIN, 0});
        for (const auto &l : c->links)
            fds.push_back(l.wanted());
    }
    if (!waits)
        return false;
    memory_close();
    int held = lock.leave();
    poll(fds.data(), fds.size(), 5);
    lock.enter(held);
    return true;
}

ncclResult_t ncclGetVersion(int *version)
{
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    static const char *const texts[] = {
        "no error",         "unhandled cuda error", "unhandled system error", "internal error",
        "invalid argument", "invalid usage",        "remote process exited",  "in progress",
    };
    return result >= 0 && result < ncclNumResults ? texts[result] : "unknown result code";
}

const char *ncclGetLastError(ncclComm_t)
{
    return last_words.c_str();
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    guard g(lock);
    unsigned char random[16];
    *id = {};
    if (ncclResult_t e = asked_of_nccl("ncclGetUniqueId"))
        return e;
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return ncclSystemError;
    int n = snprintf(id->internal, sizeof id->internal, "gpusim-nccl-");
    for (unsigned char c : random)
        n += snprintf(id->internal + n, sizeof id->internal - (size_t)n, "%02x", c);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *ret, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    guard g(lock);
    *ret = nullptr;
    if (rank < 0 || rank >= size || !memchr(id.internal, 0, sizeof id.internal) || !id.internal[0])
        return refuse(ncclInvalidArgument, "no such rank, or no id");
    if (config && config->magic != 0xcafebeef)
        return refuse(ncclInvalidArgument, "a config without NCCL_CONFIG_INITIALIZER");
    if (ncclResult_t e = asked_of_nccl("ncclCommInitRankConfig", true))
        return e;
    auto state = std::make_shared<comm_state>();
    state->rank = rank;
    state->size = size;
    state->name = id.internal;
    state->blocking = !config || config->blocking != 0;
    state->links.resize((size_t)size);
    state->listener = listen_at(name_of(state->name, rank));
    if (state->listener < 0)
        return refuse(ncclInvalidUsage, "another process has this rank");
    all.insert(state.get());
    outside_wait = wait_for_members;
    if (fails_later("ncclCommInitRankConfig"))
        state->error = refuse(ncclSystemError, "planned");
    *ret = new ncclComm{state};
    state->advance();
    while (state->blocking && !state->ready && !state->aborted && wait_for_members())
        state->advance();
    return state->ready ? ncclSuccess : state->aborted ? ncclInternalError : ncclInProgress;
}

ncclResult_t ncclCommInitRank(ncclComm_t *ret, int size, ncclUniqueId id, int rank)
{
    return ncclCommInitRankConfig(ret, size, id, rank, nullptr);
}

/* Of a communicator that does not block, this is also what moves it on. */
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *ret)
{
    guard g(lock);
    comm_state &c = *comm->state;
    if (!c.ready && !c.aborted)
        c.advance();
    for (auto &l : c.links)
        l.pump();
    if (c.finalized && c.pending > 0)
        step_once();
    bool busy = !c.ready || (c.finalized && (c.pending > 0 || !c.flushed()));
    *ret = c.error != ncclSuccess ? c.error : busy ? ncclInProgress : ncclSuccess;
    return ncclSuccess;
}

/* A communicator ends when no graph holds its calls: NCCL waits for that, here it is an error. */
static bool held_by_graphs(const comm_state &c)
{
    while (c.graphs > 0 && step_once())
        ;
    if (c.graphs > 0)
        fail_device(cudaErrorUnknown,
                    "NCCL would wait for ever: a graph holds %d calls of a "
                    "communicator that ends",
                    c.graphs);
    return c.graphs > 0;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    guard g(lock);
    auto c = comm->state;
    if (held_by_graphs(*c))
        return ncclInternalError;
    if (ncclResult_t e = asked_of_nccl("ncclCommFinalize"))
        return e;
    if (fails_later("ncclCommFinalize"))
        c->error = refuse(ncclSystemError, "planned");
    c->finalized = true;
    if (!c->blocking)
        return c->pending > 0 || !c->flushed() ? ncclInProgress : ncclSuccess;
    cudaError_t e = drain_until([&] {
        for (auto &l : c->links)
            l.pump();
        return c->aborted || (c->pending == 0 && c->flushed());
    });
    return e ? ncclUnhandledCudaError : ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    guard g(lock);
    if (!comm)
        return ncclSuccess;
    if (!comm->state->finalized) {
        comm->state->blocking = true;
        ncclCommFinalize(comm);
    }
    comm->state->close_down();
    delete comm;
    return ncclSuccess;
}

/* What is queued ends without a result. */
ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    guard g(lock);
    if (!comm)
        return ncclSuccess;
    comm->state->aborted = true;
    bool held = held_by_graphs(*comm->state);
    comm->state->close_down();
    delete comm;
    return held ? ncclInternalError : ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *ret)
{
    *ret = comm->state->size;
    return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *ret)
{
    *ret = comm->state->rank;
    return ncclSuccess;
}

ncclResult_t ncclCommCuDevice(const ncclComm_t, int *ret)
{
    return cudaGetDevice(ret) == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError;
}

/* ---- work ---- */

/* Of a group of calls that was captured: alive as long as any graph that holds it. */
struct captured {
    std::vector<std::shared_ptr<comm_state>> comms;

    explicit captured(std::vector<std::shared_ptr<comm_state>> c) : comms(std::move(c))
    {
        for (auto &s : comms)
            s->graphs++;
    }
    captured(const captured &) = delete;
    captured &operator=(const captured &) = delete;
    ~captured()
    {
        for (auto &s : comms)
            s->graphs--;
    }
};

static size_t bytes_of(ncclDataType_t type)
{
    switch (type) {
    case ncclInt8:
    case ncclUint8:
        return 1;
    case ncclFloat16:
    case ncclBfloat16:
        return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32:
        return 4;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64:
        return 8;
    default:
        return 0;
    }
}

/* One call of the host. A send has no `to`, a receive no `from`. */
struct call_of {
    std::shared_ptr<comm_state> comm;
    kind what;
    ncclDataType_t type;
    size_t bytes; /* that a member gives */
    int root;     /* or the peer */
    const char *from;
    char *to;

    frame_head head() const
    {
        return {what, (uint32_t)type, what == BROADCAST ? (uint32_t)root : 0, 0, bytes};
    }
    bool gives_to(int r) const
    {
        if (what == POINT)
            return from && r == root;
        return r != comm->rank && (what != BROADCAST || comm->rank == root);
    }
    bool takes_from(int r) const
    {
        if (what == POINT)
            return to && r == root;
        return r != comm->rank && (what != BROADCAST || r == root);
    }
    void give() const;
    bool arrived(std::vector<std::vector<char>> &got) const;
    void finish(std::vector<std::vector<char>> &got) const;
};

void call_of::give() const
{
    for (int r = 0; r < comm->size; r++) {
        if (!gives_to(r))
            continue;
        if (r == comm->rank)
            comm->links[(size_t)r].deliver({head(), std::vector<char>(from, from + bytes)});
        else
            comm->links[(size_t)r].post(head(), from);
    }
}

/* Takes what has come from each member; true: all of it, or an error that ends the call. */
bool call_of::arrived(std::vector<std::vector<char>> &got) const
{
    bool whole = true;
    got.resize((size_t)comm->size);
    for (int r = 0; r < comm->size; r++) {
        auto &l = comm->links[(size_t)r];
        if (!takes_from(r) || (!got[(size_t)r].empty() && bytes > 0))
            continue;
        l.pump();
        frame *f = l.first();
        if (!f) {
            whole = false;
            continue;
        }
        frame_head want = head();
        if (std::memcmp(&f->head, &want, sizeof want) != 0) {
            comm->error =
                refuse(ncclInvalidUsage,
                       "rank " + std::to_string(r) + " called kind " +
                           std::to_string(f->head.kind) + " with " + std::to_string(f->head.bytes) +
                           " bytes, rank " + std::to_string(comm->rank) + " kind " +
                           std::to_string(want.kind) + " with " + std::to_string(bytes));
            comm->aborted = true;
            return true;
        }
        got[(size_t)r] = std::move(f->data);
        l.drop();
    }
    return whole;
}

static number number_of(ncclDataType_t type)
{
    return type == ncclFloat16 ? number::f16 : type == ncclBfloat16 ? number::bf16 : number::f32;
}

void call_of::finish(std::vector<std::vector<char>> &got) const
{
    size_t n = bytes / bytes_of(type);
    std::vector<float> sum(what == SUM ? n : 0), part(sum.size());
    if (what == SUM || what == GATHER || (what == BROADCAST && comm->rank == root))
        got[(size_t)comm->rank].assign(from, from + bytes);
    for (int r = 0; r < comm->size; r++) {
        const std::vector<char> &d = got[(size_t)r];
        if (what == GATHER) {
            std::memcpy(to + (size_t)r * bytes, d.data(), bytes);
        } else if (what == SUM) {
            to_float(r == 0 ? sum.data() : part.data(), 1, d.data(), 1, number_of(type), n);
            for (size_t i = 0; i < n && r > 0; i++)
                sum[i] += part[i];
        } else if (to && r == root) {
            std::memcpy(to, d.data(), bytes);
        }
    }
    if (what == SUM)
        from_float(to, 1, number_of(type), sum.data(), n);
}

/* The calls of a group: all is given before anything is waited for. Can run again, as graphs do. */
struct group_work {
    std::vector<call_of> calls;
    std::vector<std::vector<std::vector<char>>> got;
    std::vector<bool> done;
    bool begun = false, once;
    std::shared_ptr<captured> graph; /* none: once */

    bool operator()()
    {
        if (!begun)
            begin();
        bool whole = true;
        for (size_t i = 0; i < calls.size(); i++) {
            if (done[i])
                continue;
            const call_of &c = calls[i];
            done[i] = c.comm->aborted || c.arrived(got[i]);
            if (done[i] && !c.comm->aborted)
                c.finish(got[i]);
            whole = whole && done[i];
        }
        if (whole)
            end();
        return whole;
    }
    void begin()
    {
        begun = true;
        got.assign(calls.size(), {});
        done.assign(calls.size(), false);
        for (const call_of &c : calls) {
            if (!once)
                c.comm->pending++;
            if (!c.comm->aborted)
                c.give();
        }
    }
    void end()
    {
        begun = false;
        for (const call_of &c : calls)
            c.comm->pending--;
    }
};

static thread_local int group_depth;
static thread_local std::vector<std::pair<cudaStream_t, call_of>> *group_calls;

static ncclResult_t queue(cudaStream_t stream, std::vector<call_of> calls)
{
    /* In a graph nothing is pending before it is launched. */
    bool once = !capturing(stream);
    for (const call_of &c : calls)
        c.comm->pending += once;
    std::shared_ptr<captured> graph;
    if (!once) {
        std::vector<std::shared_ptr<comm_state>> comms;
        for (const call_of &c : calls)
            comms.push_back(c.comm);
        graph = std::make_shared<captured>(std::move(comms));
    }
    group_work w = {std::move(calls), {}, {}, false, once, std::move(graph)};
    return submit(stream, "NCCL", w) == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError;
}

/* Taken, but what it gives to others never leaves: all members wait until they abort. */
static ncclResult_t lose(const call_of &c, cudaStream_t stream)
{
    c.comm->error = refuse(ncclSystemError, "planned");
    auto state = c.comm;
    state->pending++;
    submit(stream, "NCCL", [state] {
        state->pending -= state->aborted;
        return state->aborted;
    });
    return ncclSuccess;
}

static ncclResult_t enqueue(const char *name, const call_of &c, cudaStream_t stream)
{
    guard g(lock);
    if (ncclResult_t e = asked_of_nccl(name, !c.comm->connected))
        return e;
    c.comm->connected = true;
    if (!bytes_of(c.type) ||
        (c.what == SUM && c.type != ncclFloat32 && c.type != ncclFloat16 && c.type != ncclBfloat16))
        return refuse(ncclInvalidArgument, "this type of number is not emulated");
    if (c.root < 0 || c.root >= c.comm->size)
        return refuse(ncclInvalidArgument, "no such rank");
    if (!c.comm->ready || c.comm->finalized)
        return refuse(ncclInvalidUsage, "the communicator is not ready, or is finalized");
    if (c.comm->error != ncclSuccess)
        return c.comm->error;
    if (c.bytes == 0)
        return ncclSuccess;
    size_t taken = c.what == GATHER ? c.bytes * (size_t)c.comm->size : c.bytes;
    if ((c.from && !device_range(c.from, c.bytes, true)) ||
        (c.to && !device_range(c.to, taken, true)))
        return refuse(ncclInvalidArgument, "a buffer is not device memory of its size");
    if (fails_later(name))
        return lose(c, stream);
    if (group_depth == 0)
        return queue(stream, {c});
    if (!group_calls)
        group_calls = new std::vector<std::pair<cudaStream_t, call_of>>;
    group_calls->push_back({stream, c});
    return ncclSuccess;
}

ncclResult_t ncclGroupStart()
{
    guard g(lock);
    if (ncclResult_t e = asked_of_nccl("ncclGroupStart"))
        return e;
    group_depth++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd()
{
    guard g(lock);
    if (group_depth == 0)
        return refuse(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
    if (--group_depth > 0 || !group_calls)
        return ncclSuccess;
    ncclResult_t result = asked_of_nccl("ncclGroupEnd");
    while (!group_calls->empty() && result == ncclSuccess) {
        cudaStream_t s = group_calls->front().first;
        std::vector<call_of> calls;
        for (const auto &[stream, c] : *group_calls) {
            if (stream == s)
                calls.push_back(c);
        }
        group_calls->erase(std::remove_if(group_calls->begin(), group_calls->end(),
                                          [s](const auto &p) { return p.first == s; }),
                           group_calls->end());
        result = queue(s, std::move(calls));
    }
    delete group_calls;
    group_calls = nullptr;
    return result;
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    if (op != ncclSum)
        return refuse(ncclInvalidArgument, "only sums are emulated");
    return enqueue(
        "ncclAllReduce",
        {comm->state, SUM, type, count * bytes_of(type), 0, (const char *)from, (char *)to},
        stream);
}

ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream)
{
    return enqueue(
        "ncclAllGather",
        {comm->state, GATHER, type, count * bytes_of(type), 0, (const char *)from, (char *)to},
        stream);
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream)
{
    bool gives = comm->state->rank == root;
    return enqueue("ncclBroadcast",
                   {comm->state, BROADCAST, type, count * bytes_of(type), root,
                    gives ? (const char *)from : nullptr, (char *)to},
                   stream);
}

ncclResult_t ncclSend(const void *from, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream)
{
    return enqueue(
        "ncclSend",
        {comm->state, POINT, type, count * bytes_of(type), peer, (const char *)from, nullptr},
        stream);
}

ncclResult_t ncclRecv(void *to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream)
{
    return enqueue("ncclRecv",
                   {comm->state, POINT, type, count * bytes_of(type), peer, nullptr, (char *)to},
                   stream);
}
