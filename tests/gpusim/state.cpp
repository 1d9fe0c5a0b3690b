/* The lock, the seed and the errors. */
#include "state.h"
#include "control.h"

#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>

namespace gpusim
{

big_lock lock;

static uint64_t random_state;
static cudaError_t last_error = cudaSuccess, sticky = cudaSuccess;
static std::string sentence;

static uint64_t first_seed()
{
    const char *s = getenv("GPUSIM_SEED");
    return s ? strtoull(s, nullptr, 10) : 1;
}

static void set_seed(uint64_t seed)
{
    random_state = (seed + 1) * 0x9e3779b97f4a7c15u | 1;
}

uint64_t next_random()
{
    if (random_state == 0)
        set_seed(first_seed());
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1du;
}

bool planted(const char *fault)
{
    const char *s = getenv("GPUSIM_FAULTS");
    return s && std::strstr(s, fault);
}

static void keep(const char *format, va_list arguments)
{
    char text[1024];
    vsnprintf(text, sizeof text, format, arguments);
    sentence = text;
    fprintf(stderr, "gpusim: %s\n", text);
}

cudaError_t fail(cudaError_t code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    keep(format, arguments);
    va_end(arguments);
    if (code)
        last_error = code;
    return code;
}

cudaError_t fail_device(cudaError_t code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    keep(format, arguments);
    va_end(arguments);
    last_error = code;
    sticky = code;
    return code;
}

cudaError_t device_error()
{
    return sticky;
}

void forget_errors()
{
    last_error = sticky = cudaSuccess;
    sentence.clear();
}

void forget_last_error()
{
    last_error = cudaSuccess;
}

/* ---- planned failures ---- */

static gpusim_fault fault;
static uint64_t fails_at, calls, memory_calls, later_calls;
static uint64_t fails_each; /* of fork_each(); 0: not asked for */
static uint64_t forks_from, forks_to;
static uint64_t failed_at, copies, wrong_copies;
static const char *failed_call;
static bool copied; /* this process is a copy */

/* GPUSIM_LOSE's file is there: it is taken away. */
static bool lost_by_file()
{
    static const char *path = getenv("GPUSIM_LOSE");
    return path && unlink(path) == 0;
}

/* A copy of this process, in which the call will fail: true there, false here at its end. */
static bool fork_copy(const char *call)
{
    int held = lock.leave(); /* its owner is a thread, and the copy's has another number */
    pid_t child = fork();
    int status = 1;
    lock.enter(held);
    if (child == 0) {
        copied = true;
        fails_each = 0;
        signal(SIGABRT, SIG_DFL); /* not a test runner's, which would go on in the copy */
        signal(SIGFPE, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        memory_die_of_faults();
        return true;
    }
    bool ended = child > 0 && waitpid(child, &status, 0) == child;
    copies++;
    if (!ended || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        wrong_copies++;
        fprintf(stderr, "gpusim: call %llu, %s: its copy ended with %#x\n",
                (unsigned long long)calls, call, (unsigned)status);
    }
    return false;
}

/* Whether this call, the nth that the planned fault is for, fails. */
static bool fails_now(const char *call, uint64_t nth)
{
    if (fails_each == 0)
        return nth == fails_at;
    return nth >= forks_from && nth <= forks_to && nth % fails_each == 0 && fork_copy(call);
}

cudaError_t asked(const char *call, bool takes_memory)
{
    if (device_error())
        return device_error();
    calls++;
    memory_calls += takes_memory;
    if (lost_by_file())
        return fail_device(cudaErrorIllegalAddress, "GPUSIM_LOSE: the device is lost at %s", call);
    bool counts = fault == GPUSIM_FAIL_MEMORY
                      ? takes_memory
                      : fault != GPUSIM_FAIL_NONE && fault != GPUSIM_FAIL_LATER;
    if (!counts || !fails_now(call, fault == GPUSIM_FAIL_MEMORY ? memory_calls : calls))
        return cudaSuccess;
    failed_call = call;
    failed_at = calls;
    if (fault == GPUSIM_FAIL_DEVICE)
        return fail_device(cudaErrorIllegalAddress, "planned: the device is lost at %s", call);
    return fail(fault == GPUSIM_FAIL_MEMORY ? cudaErrorMemoryAllocation : cudaErrorUnknown,
                "planned: %s fails", call);
}

bool fails_later(const char *call)
{
    later_calls++;
    if (fault != GPUSIM_FAIL_LATER || !fails_now(call, later_calls))
        return false;
    failed_call = call;
    failed_at = calls;
    fail(cudaSuccess, "planned: %s will have failed", call);
    return true;
}

static void control_fail(gpusim_fault f, uint64_t nth)
{
    guard g(lock);
    forget_errors();
    fault = f;
    fails_at = nth;
    calls = memory_calls = later_calls = copies_beside_copies = launches_beside_copies = 0;
    pageable_copies = 0;
    fails_each = failed_at = copies = wrong_copies = 0;
    failed_call = nullptr;
}

static void control_fork_each(gpusim_fault f, uint64_t every, uint64_t first, uint64_t last)
{
    guard g(lock);
    control_fail(f, 0);
    fails_each = every;
    forks_from = first;
    forks_to = last;
}

static int control_is_copy()
{
    return copied;
}

static const char *control_failed()
{
    return failed_call;
}

static gpusim_counts control_counts()
{
    guard g(lock);
    return {
        calls,           memory_calls, later_calls, copies_beside_copies, launches_beside_copies,
        pageable_copies, failed_at,    copies,      wrong_copies,         memory_of_device(),
        memory_pinned()};
}

const char *message()
{
    return sentence.c_str();
}

void reset(uint64_t seed)
{
    guard g(lock);
    streams_reset();
    memory_reset();
    forget_errors();
    set_seed(seed);
}

} // namespace gpusim

using namespace gpusim;

extern "C" __attribute__((visibility("default"), used))
const struct gpusim_control gpusim_control = {control_fail, control_failed,    control_counts,
                                              set_seed,     control_fork_each, control_is_copy};

cudaError_t cudaGetLastError(void)
{
    guard g(lock);
    cudaError_t e = sticky ? sticky : last_error;
    last_error = cudaSuccess;
    return e;
}

cudaError_t cudaPeekAtLastError(void)
{
    guard g(lock);
    return sticky ? sticky : last_error;
}

static const struct {
    cudaError_t code;
    const char *name, *text;
} errors[] = {
#define E(code, text)                                                                              \
    {                                                                                              \
        code, #code, text                                                                          \
    }
    E(cudaSuccess, "no error"),
    E(cudaErrorInvalidValue, "invalid argument"),
    E(cudaErrorMemoryAllocation, "out of memory"),
    E(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    E(cudaErrorInvalidDevice, "invalid device ordinal"),
    E(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    E(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    E(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    E(cudaErrorNotReady, "device not ready"),
    E(cudaErrorNotSupported, "operation not supported"),
    E(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    E(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    E(cudaErrorUnknown, "unknown error"),
    E(cudaErrorLaunchFailure, "unspecified launch failure"),
    E(cudaErrorLaunchTimeout, "the launch timed out and was terminated"),
    E(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    E(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    E(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    E(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    E(cudaErrorStreamCaptureImplicit,
      "operation would make the legacy stream depend on a capturing blocking stream"),
    E(cudaErrorStreamCaptureUnmatched, "capture was not initiated in this stream"),
#undef E
};

const char *cudaGetErrorString(cudaError_t code)
{
    for (const auto &e : errors) {
        if (e.code == code)
            return e.text;
    }
    return "unrecognized error code";
}

const char *cudaGetErrorName(cudaError_t code)
{
    for (const auto &e : errors) {
        if (e.code == code)
            return e.name;
    }
    return "unrecognized error code";
}
