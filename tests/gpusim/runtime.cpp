/* cudart: launches, copies, and what the device says of itself. */
#include "state.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <vector>

namespace gpusim
{

static const size_t shared_default = 48 << 10, shared_most = 99 << 10; /* of sm_89 and sm_120 */
static std::map<const void *, size_t> shared_allowed;                  /* by kernel */
static std::set<const void *> loaded;                                  /* kernels */
static thread_local int device_current;

int current_device()
{
    return device_current;
}

static int device_count()
{
    const char *s = getenv("GPUSIM_DEVICES");
    return s ? (int)strtol(s, nullptr, 10) : 1;
}

static bool grid_ok(const dim3 &grid, const dim3 &block)
{
    return grid.x >= 1 && grid.x <= 0x7fffffff && grid.y >= 1 && grid.y <= 65535 && grid.z >= 1 &&
           grid.z <= 65535 && block.x >= 1 && block.x <= 1024 && block.y >= 1 && block.y <= 1024 &&
           block.z >= 1 && block.z <= 64 && (uint64_t)block.x * block.y * block.z <= 1024;
}

cudaError_t launch_call(std::shared_ptr<call> c, cudaStream_t stream)
{
    guard g(lock);
    if (cudaError_t e = asked(c->name))
        return e;
    if (!grid_ok(c->grid, c->block))
        return fail(cudaErrorInvalidConfiguration, "kernel %s: grid %u,%u,%u of blocks %u,%u,%u",
                    c->name, c->grid.x, c->grid.y, c->grid.z, c->block.x, c->block.y, c->block.z);
    auto allowed = shared_allowed.find(c->kernel);
    size_t limit = allowed == shared_allowed.end() ? shared_default : allowed->second;
    if (c->shared > limit)
        return fail(cudaErrorInvalidValue,
                    "kernel %s: %zu bytes of dynamic shared memory, %zu allowed", c->name,
                    c->shared, limit);
    const char *name = c->name;
    if (loaded.insert(c->kernel).second && capturing(stream)) {
        loaded.erase(c->kernel);
        return spoil_capture(stream, "the first launch of a kernel, which loads it,");
    }
    launches_beside_copies += copies_under_way(stream);
    return submit(stream, name, [c] {
        run(*c);
        return true;
    });
}

/* ---- copies ---- */

struct side {
    where at;
    bool ok;
};

static side look(const void *p, size_t bytes)
{
    where w = where_is(p);
    return {w, w == where::host || device_range(p, bytes, true)};
}

static const char *name_of(where w)
{
    return w == where::device ? "device" : "host";
}

static cudaError_t check_copy(const char *call, const void *to, const void *from, size_t bytes,
                              cudaMemcpyKind kind)
{
    side d = look(to, bytes), s = look(from, bytes);
    if (!d.ok || !s.ok)
        return fail(cudaErrorInvalidValue, "%s: %zu bytes go beyond the %s allocation", call, bytes,
                    d.ok ? "source's" : "destination's");
    bool to_device = d.at == where::device, from_device = s.at == where::device;
    bool right = kind == cudaMemcpyDefault ||
                 (kind == cudaMemcpyHostToDevice && to_device && !from_device) ||
                 (kind == cudaMemcpyDeviceToHost && !to_device && from_device) ||
                 (kind == cudaMemcpyDeviceToDevice && to_device && from_device) ||
                 (kind == cudaMemcpyHostToHost && !to_device && !from_device);
    if (!right)
        return fail(cudaErrorInvalidMemcpyDirection, "%s: kind %d from %s to %s memory", call,
                    (int)kind, name_of(s.at), name_of(d.at));
    return cudaSuccess;
}

/* Rows of `width` bytes. A pageable source is read before the call returns, as CUDA promises; a
 * pageable destination is written before it returns. */
struct copy {
    char *to;
    const char *from;
    size_t to_pitch, from_pitch, width, height;
    std::shared_ptr<std::vector<char>> staged;

    bool operator()() const
    {
        for (size_t i = 0; i < height; i++)
            std::memmove(to + i * to_pitch, from + i * from_pitch, width);
        return true;
    }
    void stage()
    {
        staged = std::make_shared<std::vector<char>>(width * height);
        for (size_t i = 0; i < height; i++)
            std::memcpy(staged->data() + i * width, from + i * from_pitch, width);
        from = staged->data();
        from_pitch = width;
    }
};

static cudaError_t submit_copy(const char *call, copy c, cudaMemcpyKind kind, cudaStream_t s)
{
    guard g(lock);
    if (cudaError_t e = asked(call))
        return e;
    if (c.width == 0 || c.height == 0)
        return cudaSuccess;
    if (c.to_pitch < c.width || c.from_pitch < c.width)
        return fail(cudaErrorInvalidValue, "%s: rows of %zu bytes overlap", call, c.width);
    cudaError_t e = check_copy(call, c.to, c.from, c.to_pitch * (c.height - 1) + c.width, kind);
    if (!e)
        e = check_copy(call, c.to, c.from, c.from_pitch * (c.height - 1) + c.width, kind);
    if (e)
        return e;
    bool pageable_to = where_is(c.to) == where::host,
         pageable_from = where_is(c.from) == where::host;
    if (capturing(s) && (pageable_to || pageable_from))
        return fail(cudaErrorStreamCaptureUnsupported, "%s of pageable memory during a capture",
                    call);
    pageable_copies += pageable_from || pageable_to;
    if (pageable_from)
        c.stage();
    if (!pageable_from && !pageable_to)
        copies_beside_copies += copies_under_way(cudaStreamLegacy);
    e = submit(s, call, c);
    return !e && pageable_to ? cudaStreamSynchronize(s) : e;
}

} // namespace gpusim

using namespace gpusim;

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t s)
{
    return submit_copy("cudaMemcpyAsync",
                       {(char *)to, (const char *)from, bytes, bytes, bytes, 1, nullptr}, kind, s);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    return submit_copy("cudaMemcpy",
                       {(char *)to, (const char *)from, bytes, bytes, bytes, 1, nullptr}, kind,
                       nullptr);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind, cudaStream_t s)
{
    return submit_copy(
        "cudaMemcpy2DAsync",
        {(char *)to, (const char *)from, to_pitch, from_pitch, width, height, nullptr}, kind, s);
}

cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                         size_t width, size_t height, cudaMemcpyKind kind)
{
    return submit_copy(
        "cudaMemcpy2D",
        {(char *)to, (const char *)from, to_pitch, from_pitch, width, height, nullptr}, kind,
        nullptr);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t s)
{
    guard g(lock);
    if (cudaError_t e = asked("cudaMemset"))
        return e;
    if (bytes == 0)
        return cudaSuccess;
    if (!device_range(to, bytes, true))
        return fail(cudaErrorInvalidValue, "cudaMemset: no device memory of %zu bytes", bytes);
    return submit(s, "cudaMemset", [=] {
        std::memset(to, value, bytes);
        return true;
    });
}

cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    return cudaMemsetAsync(to, value, bytes, nullptr);
}

/* ---- the device ---- */

/* GPUSIM_DRIVER: the CUDA version that the driver speaks, else that of the headers. */
static int driver()
{
    const char *s = getenv("GPUSIM_DRIVER");
    return s ? (int)strtol(s, nullptr, 10) : CUDART_VERSION;
}

cudaError_t cudaGetDeviceCount(int *ret)
{
    guard g(lock);
    *ret = 0;
    if (cudaError_t e = asked("cudaGetDeviceCount"))
        return e;
    if (driver() / 1000 < CUDART_VERSION / 1000)
        return fail(cudaErrorInsufficientDriver, "cudaGetDeviceCount: the driver speaks %d",
                    driver());
    *ret = device_count();
    return *ret > 0 ? cudaSuccess : fail(cudaErrorNoDevice, "cudaGetDeviceCount: GPUSIM_DEVICES");
}

cudaError_t cudaSetDevice(int device)
{
    guard g(lock);
    if (cudaError_t e = asked("cudaSetDevice"))
        return e;
    if (device < 0 || device >= device_count())
        return fail(cudaErrorInvalidDevice, "cudaSetDevice: no device %d", device);
    device_current = device;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *ret)
{
    guard g(lock);
    *ret = device_current;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *ret, int device)
{
    guard g(lock);
    if (cudaError_t e = asked("cudaGetDeviceProperties"))
        return e;
    if (device < 0 || device >= device_count())
        return fail(cudaErrorInvalidDevice, "cudaGetDeviceProperties: no device %d", device);
    *ret = {};
    snprintf(ret->name, sizeof ret->name, "gpusim");
    size_t unused;
    cudaMemGetInfo(&unused, &ret->totalGlobalMem);
    ret->sharedMemPerBlock = shared_default;
    ret->sharedMemPerBlockOptin = shared_most;
    ret->sharedMemPerMultiprocessor = 100 << 10;
    ret->regsPerBlock = 65536;
    ret->warpSize = 32;
    ret->maxThreadsPerBlock = 1024;
    ret->maxThreadsDim[0] = ret->maxThreadsDim[1] = 1024;
    ret->maxThreadsDim[2] = 64;
    ret->maxGridSize[0] = 0x7fffffff;
    ret->maxGridSize[1] = ret->maxGridSize[2] = 65535;
    const char *capability = getenv("GPUSIM_CAPABILITY"); /* such as 75 */
    int tens = capability ? (int)strtol(capability, nullptr, 10) : 89;
    ret->major = tens / 10;
    ret->minor = tens % 10;
    ret->multiProcessorCount = 4;
    ret->maxThreadsPerMultiProcessor = 1536;
    ret->l2CacheSize = 32 << 20;
    ret->unifiedAddressing = 1;
    ret->asyncEngineCount = 2;
    ret->pciBusID = device + 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *ret, cudaDeviceAttr attribute, int device)
{
    cudaDeviceProp p;
    cudaError_t e = cudaGetDeviceProperties(&p, device);
    if (e)
        return e;
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
        *ret = p.maxThreadsPerBlock;
        return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
        *ret = (int)p.sharedMemPerBlock;
        return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *ret = (int)p.sharedMemPerBlockOptin;
        return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
        *ret = p.multiProcessorCount;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
        *ret = p.major;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
        *ret = p.minor;
        return cudaSuccess;
    case cudaDevAttrWarpSize:
        *ret = p.warpSize;
        return cudaSuccess;
    case cudaDevAttrMemoryPoolsSupported:
    case cudaDevAttrCooperativeLaunch:
        *ret = 0;
        return cudaSuccess;
    default:
        return fail(cudaErrorNotSupported, "cudaDeviceGetAttribute: attribute %d is not emulated",
                    (int)attribute);
    }
}

cudaError_t cudaDeviceGetPCIBusId(char *ret, int length, int device)
{
    snprintf(ret, (size_t)length, "0000:%02x:00.0", device + 1);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = *greatest = 0;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *ret)
{
    *ret = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *ret)
{
    guard g(lock);
    if (cudaError_t e = asked("cudaDriverGetVersion"))
        return e;
    *ret = driver();
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value)
{
    guard g(lock);
    if (cudaError_t e = asked("cudaFuncSetAttribute"))
        return e;
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout)
        return cudaSuccess;
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
        return fail(cudaErrorNotSupported, "cudaFuncSetAttribute: attribute %d is not emulated",
                    (int)attribute);
    if (value < 0 || (size_t)value > shared_most)
        return fail(cudaErrorInvalidValue, "cudaFuncSetAttribute: %d bytes of %zu", value,
                    shared_most);
    if (!capturing_any())
        loaded.insert(kernel);
    shared_allowed[kernel] = (size_t)value > shared_default ? (size_t)value : shared_default;
    return cudaSuccess;
}
