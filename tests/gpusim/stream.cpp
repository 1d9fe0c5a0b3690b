/*
 * Streams, events and graphs. Work waits in its stream until somebody synchronises, or until the
 * seed says that the device was quick; which stream goes first is drawn, among those that no event
 * holds.
 */
#include "state.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <set>
#include <vector>

using namespace gpusim;

struct event_state {
    uint64_t recorded = 0, done = 0; /* how often */
    std::chrono::steady_clock::time_point at;
};

struct CUevent_st {
    std::shared_ptr<event_state> state = std::make_shared<event_state>();
    CUgraph_st *graph = nullptr; /* of the capture that it was last recorded in */
    std::vector<size_t> after;
    bool timing = true;
};

struct node {
    const char *name;
    work run;
    std::vector<size_t> after;
};

struct CUgraph_st {
    std::vector<node> nodes;
    bool capturing = true;
    std::string spoilt; /* by what call that a capture does not allow */
};

struct CUgraphExec_st {
    std::vector<node> nodes;
};

struct item {
    const char *name;
    work run;
};

struct CUstream_st {
    std::deque<item> queue;
    bool blocking = true; /* waits for the legacy stream */
    int device = 0;       /* that was the thread's when it was created */
    CUgraph_st *graph = nullptr;
    bool origin = false;       /* the capture began here */
    std::vector<size_t> after; /* what its next captured node waits for */
};

static std::set<CUstream_st *> streams;
static std::set<CUevent_st *> events;
static std::set<CUgraph_st *> graphs;
static std::set<CUgraphExec_st *> execs;
static CUstream_st legacy;
static const size_t queue_most = 1024; /* launches; the next one waits for the device */

/* ---- running ---- */

static bool idle_wait()
{
    return outside_wait && outside_wait();
}

static void drop_all_work()
{
    for (CUstream_st *s : streams)
        s->queue.clear();
    legacy.queue.clear();
}

/* One piece of work of a stream that can go on; false: none can. */
static bool step(const std::vector<CUstream_st *> &candidates)
{
    if (candidates.empty())
        return false;
    size_t first = random_below((unsigned)candidates.size());
    for (size_t i = 0; i < candidates.size(); i++) {
        CUstream_st *s = candidates[(first + i) % candidates.size()];
        if (s->queue.empty() || !s->queue.front().run())
            continue;
        s->queue.pop_front();
        return true;
    }
    return false;
}

static std::vector<CUstream_st *> all_streams()
{
    std::vector<CUstream_st *> all(streams.begin(), streams.end());
    all.push_back(&legacy);
    return all;
}

/* Works until done(). Other threads may come in between while it waits for another process. */
template <class F> static cudaError_t drain(F done)
{
    memory_open();
    while (!device_error() && !done()) {
        if (step(all_streams()))
            continue;
        if (!idle_wait())
            fail_device(cudaErrorLaunchTimeout, "the streams wait for each other");
        memory_open();
    }
    if (device_error())
        drop_all_work();
    memory_close();
    return device_error();
}

static bool empty(const CUstream_st *s)
{
    return s->queue.empty();
}

namespace gpusim
{

bool (*outside_wait)();

uint64_t copies_beside_copies, launches_beside_copies, pageable_copies;

bool copies_under_way(cudaStream_t but)
{
    for (CUstream_st *s : streams)
        for (const item &i : s->queue)
            if (s != but && std::strncmp(i.name, "cudaMemcpy", 10) == 0)
                return true;
    return false;
}

cudaError_t drain_until(const std::function<bool()> &done)
{
    return drain(done);
}

bool step_once()
{
    memory_open();
    bool moved = step(all_streams());
    memory_close();
    return moved;
}

cudaError_t drain_all()
{
    return drain(
        [] { return std::all_of(streams.begin(), streams.end(), empty) && empty(&legacy); });
}

bool capturing_any()
{
    return std::any_of(graphs.begin(), graphs.end(), [](CUgraph_st *g) { return g->capturing; });
}

static cudaError_t drain_blocking()
{
    return drain([] {
        return std::all_of(streams.begin(), streams.end(),
                           [](CUstream_st *s) { return !s->blocking || s->queue.empty(); });
    });
}

static cudaError_t submit_legacy(const char *name, work w)
{
    if (capturing_any())
        return fail(cudaErrorStreamCaptureImplicit, "%s on the legacy stream during a capture",
                    name);
    cudaError_t e = drain_blocking();
    if (e)
        return e;
    legacy.queue.push_back({name, std::move(w)});
    return drain([] { return legacy.queue.empty(); });
}

/* Now and then the device is quick: what the host does after this call comes too late. */
static void perhaps_run()
{
    if (random_below(16) != 0)
        return;
    unsigned steps = random_below(2) ? 1000000 : 1 + random_below(4);
    memory_open();
    while (steps-- > 0 && !device_error() && step(all_streams()))
        ;
    memory_close();
}

cudaError_t submit(cudaStream_t stream, const char *name, work w)
{
    guard g(lock);
    if (device_error())
        return device_error();
    if (!stream || stream == cudaStreamLegacy)
        return submit_legacy(name, std::move(w));
    if (streams.find(stream) == streams.end())
        return fail(cudaErrorInvalidResourceHandle, "%s: no such stream", name);
    if (stream->device != current_device())
        return fail(cudaErrorInvalidResourceHandle,
                    "%s: the stream is of device %d, this thread's is %d", name, stream->device,
                    current_device());
    if (stream->graph) {
        stream->graph->nodes.push_back({name, std::move(w), stream->after});
        stream->after = {stream->graph->nodes.size() - 1};
        return cudaSuccess;
    }
    if (stream->queue.size() >= queue_most) {
        cudaError_t e = drain([stream] { return stream->queue.size() < queue_most; });
        if (e)
            return e;
    }
    stream->queue.push_back({name, std::move(w)});
    perhaps_run();
    return cudaSuccess;
}

bool capturing(cudaStream_t stream)
{
    return stream && streams.find(stream) != streams.end() && stream->graph;
}

cudaError_t spoil_capture(cudaStream_t stream, const char *call)
{
    stream->graph->spoilt = call;
    return fail(cudaErrorStreamCaptureUnsupported, "%s during a capture", call);
}

/* A call that waits: during a capture it spoils the capture. */
static cudaError_t may_wait(cudaStream_t only, const char *call)
{
    if (device_error())
        return device_error();
    for (CUstream_st *s : streams) {
        if (!s->graph || (only && s != only))
            continue;
        return spoil_capture(s, call);
    }
    return cudaSuccess;
}

void streams_reset()
{
    drop_all_work();
    for (CUstream_st *s : streams)
        delete s;
    for (CUevent_st *e : events)
        delete e;
    for (CUgraph_st *x : graphs)
        delete x;
    for (CUgraphExec_st *x : execs)
        delete x;
    streams.clear();
    events.clear();
    graphs.clear();
    execs.clear();
}

} // namespace gpusim

/* ---- streams ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *ret, unsigned flags)
{
    guard g(lock);
    if (cudaError_t e = asked("cudaStreamCreate", true))
        return e;
    auto *s = new CUstream_st;
    s->blocking = !(flags & cudaStreamNonBlocking);
    s->device = current_device();
    streams.insert(s);
    *ret = s;
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *ret)
{
    return cudaStreamCreateWithFlags(ret, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *ret, unsigned flags, int)
{
    return cudaStreamCreateWithFlags(ret, flags);
}

static cudaError_t known(cudaStream_t s, const char *call)
{
    if (!s || s == cudaStreamLegacy || streams.find(s) != streams.end())
        return cudaSuccess;
    return fail(cudaErrorInvalidResourceHandle, "%s: no such stream", call);
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    guard g(lock);
    cudaError_t e = asked("cudaStreamSynchronize");
    if (!e)
        e = known(s, "cudaStreamSynchronize");
    if (!e)
        e = may_wait(s, "cudaStreamSynchronize");
    if (e)
        return e;
    if (!s || s == cudaStreamLegacy)
        return drain_blocking();
    return drain([s] { return s->queue.empty(); });
}

cudaError_t cudaStreamQuery(cudaStream_t s)
{
    guard g(lock);
    cudaError_t e = asked("cudaStreamQuery");
    if (!e)
        e = known(s, "cudaStreamQuery");
    if (!e)
        e = may_wait(s, "cudaStreamQuery");
    if (e || !s || s == cudaStreamLegacy || s->queue.empty())
        return e;
    step_once(); /* so that asking again and again ends */
    return device_error() ? device_error() : s->queue.empty() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    guard g(lock);
    if (!s || streams.find(s) == streams.end())
        return fail(cudaErrorInvalidResourceHandle, "cudaStreamDestroy: no such stream");
    cudaError_t e = drain([s] { return s->queue.empty(); });
    streams.erase(s);
    delete s;
    return e;
}

cudaError_t cudaDeviceSynchronize(void)
{
    guard g(lock);
    cudaError_t e = asked("cudaDeviceSynchronize");
    if (!e)
        e = may_wait(nullptr, "cudaDeviceSynchronize");
    return e ? e : drain_all();
}

cudaError_t cudaDeviceReset(void)
{
    guard g(lock);
    streams_reset();
    memory_reset();
    forget_errors();
    return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t s, cudaHostFn_t function, void *data)
{
    return submit(s, "cudaLaunchHostFunc", [=] {
        memory_close();
        function(data);
        memory_open();
        return true;
    });
}

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *ret, unsigned flags)
{
    guard g(lock);
    if (cudaError_t e = asked("cudaEventCreate", true))
        return e;
    auto *e = new CUevent_st;
    e->timing = !(flags & cudaEventDisableTiming);
    events.insert(e);
    *ret = e;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *ret)
{
    return cudaEventCreateWithFlags(ret, cudaEventDefault);
}

static cudaError_t known(cudaEvent_t e, const char *call)
{
    if (events.find(e) != events.end())
        return cudaSuccess;
    return fail(cudaErrorInvalidResourceHandle, "%s: no such event", call);
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    guard g(lock);
    cudaError_t error = known(e, "cudaEventDestroy");
    if (error)
        return error;
    events.erase(e);
    delete e;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    guard g(lock);
    cudaError_t error = asked("cudaEventRecord");
    if (!error)
        error = known(e, "cudaEventRecord");
    if (!error)
        error = known(s, "cudaEventRecord");
    if (error)
        return error;
    if (capturing(s)) {
        e->graph = s->graph;
        e->after = s->after;
        return cudaSuccess;
    }
    e->graph = nullptr;
    uint64_t n = ++e->state->recorded;
    return submit(s, "cudaEventRecord", [state = e->state, n] {
        state->done = std::max(state->done, n);
        state->at = std::chrono::steady_clock::now();
        return true;
    });
}

/* The stream joins the event's capture, or waits within the one that it is in. */
static cudaError_t wait_captured(cudaStream_t s, cudaEvent_t e)
{
    if (s->graph && s->graph != e->graph)
        return fail(cudaErrorStreamCaptureIsolation,
                    "cudaStreamWaitEvent: the event is not of this capture");
    s->graph = e->graph;
    for (size_t n : e->after) {
        if (std::find(s->after.begin(), s->after.end(), n) == s->after.end())
            s->after.push_back(n);
    }
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    guard g(lock);
    cudaError_t error = asked("cudaStreamWaitEvent");
    if (!error)
        error = known(e, "cudaStreamWaitEvent");
    if (!error)
        error = known(s, "cudaStreamWaitEvent");
    if (error)
        return error;
    bool open = e->graph && graphs.find(e->graph) != graphs.end() && e->graph->capturing;
    if (open && s && s != cudaStreamLegacy)
        return wait_captured(s, e);
    if (open || capturing(s))
        return fail(cudaErrorStreamCaptureIsolation,
                    "cudaStreamWaitEvent: the event is not of this capture");
    uint64_t n = e->state->recorded;
    return submit(s, "cudaStreamWaitEvent", [state = e->state, n] { return state->done >= n; });
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    guard g(lock);
    cudaError_t error = asked("cudaEventSynchronize");
    if (!error)
        error = known(e, "cudaEventSynchronize");
    if (!error)
        error = may_wait(nullptr, "cudaEventSynchronize");
    if (error)
        return error;
    uint64_t n = e->state->recorded;
    return drain([e, n] { return e->state->done >= n; });
}

/* Of those who ask again and again only the last one counts as a call: how often is chance. */
cudaError_t cudaEventQuery(cudaEvent_t e)
{
    guard g(lock);
    cudaError_t error = known(e, "cudaEventQuery");
    if (!error)
        error = may_wait(nullptr, "cudaEventQuery");
    if (error)
        return error;
    if (e->state->done < e->state->recorded)
        step_once();
    if (!device_error() && e->state->done < e->state->recorded)
        return cudaErrorNotReady;
    return asked("cudaEventQuery");
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to)
{
    guard g(lock);
    cudaError_t error = known(from, "cudaEventElapsedTime");
    if (!error)
        error = known(to, "cudaEventElapsedTime");
    if (error)
        return error;
    if (!from->timing || !to->timing || !from->state->recorded || !to->state->recorded)
        return fail(cudaErrorInvalidResourceHandle, "cudaEventElapsedTime: an event without time");
    if (from->state->done < from->state->recorded || to->state->done < to->state->recorded)
        return cudaErrorNotReady;
    *milliseconds =
        std::chrono::duration<float, std::milli>(to->state->at - from->state->at).count();
    return cudaSuccess;
}

/* ---- graphs ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode)
{
    guard g(lock);
    if (cudaError_t e = asked("cudaStreamBeginCapture"))
        return e;
    if (!s || s == cudaStreamLegacy)
        return fail(cudaErrorStreamCaptureUnsupported, "the legacy stream cannot be captured");
    cudaError_t e = known(s, "cudaStreamBeginCapture");
    if (e)
        return e;
    if (s->graph)
        return fail(cudaErrorIllegalState, "cudaStreamBeginCapture: it is being captured");
    s->graph = new CUgraph_st;
    s->origin = true;
    s->after.clear();
    graphs.insert(s->graph);
    return cudaSuccess;
}

static void reach(const CUgraph_st *graph, size_t n, std::vector<bool> &seen)
{
    if (seen[n])
        return;
    seen[n] = true;
    for (size_t before : graph->nodes[n].after)
        reach(graph, before, seen);
}

/* All nodes lie before the end of the stream where the capture began. */
static bool joined(const CUstream_st *s)
{
    std::vector<bool> seen(s->graph->nodes.size());
    for (size_t n : s->after)
        reach(s->graph, n, seen);
    return std::all_of(seen.begin(), seen.end(), [](bool x) { return x; });
}

static void leave_capture(const CUgraph_st *graph)
{
    for (CUstream_st *s : streams) {
        if (s->graph != graph)
            continue;
        s->graph = nullptr;
        s->origin = false;
        s->after.clear();
    }
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *ret)
{
    guard g(lock);
    *ret = nullptr;
    if (!capturing(s) || !s->origin)
        return fail(cudaErrorStreamCaptureUnmatched, "cudaStreamEndCapture: no capture began here");
    CUgraph_st *graph = s->graph;
    cudaError_t e = asked("cudaStreamEndCapture");
    if (e)
        ;
    else if (!graph->spoilt.empty())
        e = fail(cudaErrorStreamCaptureInvalidated, "the capture was spoilt by %s",
                 graph->spoilt.c_str());
    else if (!joined(s))
        e = fail(cudaErrorStreamCaptureUnjoined, "work of another stream was not waited for");
    leave_capture(graph);
    graph->capturing = false;
    if (e) {
        graphs.erase(graph);
        delete graph;
        return e;
    }
    *ret = graph;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t s, cudaStreamCaptureStatus *ret)
{
    guard g(lock);
    if (cudaError_t e = asked("cudaStreamIsCapturing"))
        return e;
    *ret = capturing(s) ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return known(s, "cudaStreamIsCapturing");
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *ret, cudaGraph_t graph, unsigned long long)
{
    guard g(lock);
    if (cudaError_t e = asked("cudaGraphInstantiate", true))
        return e;
    if (graphs.find(graph) == graphs.end())
        return fail(cudaErrorInvalidValue, "cudaGraphInstantiate: no such graph");
    *ret = new CUgraphExec_st{graph->nodes};
    execs.insert(*ret);
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
    guard g(lock);
    if (graphs.find(graph) == graphs.end() || nodes)
        return fail(cudaErrorNotSupported, "cudaGraphGetNodes: only the number of nodes is told");
    *count = graph->nodes.size();
    return cudaSuccess;
}

/* One launch: nodes in an order drawn among those whose predecessors are done. */
struct graph_run {
    std::vector<node> nodes;
    std::vector<bool> done;
    size_t left;

    explicit graph_run(const std::vector<node> &n) : nodes(n), done(n.size()), left(n.size())
    {
    }
    bool ready(size_t n) const
    {
        const auto &after = nodes[n].after;
        return !done[n] &&
               std::all_of(after.begin(), after.end(), [this](size_t b) { return done[b]; });
    }
    bool operator()()
    {
        bool moved = true;
        while (left > 0 && moved && !device_error()) {
            moved = false;
            size_t first = random_below((unsigned)nodes.size());
            for (size_t i = 0; i < nodes.size() && !moved; i++) {
                size_t n = (first + i) % nodes.size();
                if (!ready(n) || !nodes[n].run())
                    continue;
                done[n] = moved = true;
                left--;
            }
        }
        return left == 0;
    }
};

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s)
{
    guard g(lock);
    if (cudaError_t e = asked("cudaGraphLaunch"))
        return e;
    if (execs.find(exec) == execs.end())
        return fail(cudaErrorInvalidValue, "cudaGraphLaunch: no such graph");
    if (capturing(s))
        return fail(cudaErrorNotSupported, "cudaGraphLaunch within a capture is not emulated");
    return submit(s, "cudaGraphLaunch", graph_run(exec->nodes));
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    guard g(lock);
    if (graphs.erase(graph) == 0)
        return fail(cudaErrorInvalidValue, "cudaGraphDestroy: no such graph");
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    guard g(lock);
    if (execs.erase(exec) == 0)
        return fail(cudaErrorInvalidValue, "cudaGraphExecDestroy: no such graph");
    delete exec;
    return cudaSuccess;
}
