#include "proto/msg_table.h"

#define INDEX_MAX ((UINT64_C(1) << 53) - 1) /* exact in JSON and in every language's doubles */

#define KEY(text)  .key = text, .key_size = sizeof(text) - 1
#define AT(member) KEY(#member), .offset = offsetof(struct ROW, member)
#define UINT32(member, low, high)                                                                  \
    {                                                                                              \
        AT(member), .kind = FIELD_UINT32, .min = (low), .max = (high)                              \
    }
#define UINT64(member, low, high)                                                                  \
    {                                                                                              \
        AT(member), .kind = FIELD_UINT64, .min = (low), .max = (high)                              \
    }
#define REAL(member)                                                                               \
    {                                                                                              \
        AT(member), .kind = FIELD_REAL                                                             \
    }
#define STRING(member, low, high)                                                                  \
    {                                                                                              \
        AT(member), .kind = FIELD_STRING, .min = (low), .max = (high)                              \
    }
#define BYTES(member, high)                                                                        \
    {                                                                                              \
        AT(member), .kind = FIELD_BYTES, .min = 1, .max = (high),                                  \
                    .count_offset = offsetof(struct ROW, member##_size)                            \
    }
#define HASH(member)                                                                               \
    {                                                                                              \
        AT(member), .kind = FIELD_HASH                                                             \
    }
#define MAP(member, table)                                                                         \
    {                                                                                              \
        AT(member), .kind = FIELD_MAP, .rows = &(table)                                            \
    }
#define LIST(member, high, table)                                                                  \
    {                                                                                              \
        AT(member), .kind = FIELD_LIST, .max = (high), .rows = &(table),                           \
                    .count_offset = offsetof(struct ROW, n_##member)                               \
    }
#define OPTIONAL_LIST(member, high, table)                                                         \
    {                                                                                              \
        AT(member), .kind = FIELD_LIST, .max = (high), .rows = &(table), .optional = true,         \
                    .count_offset = offsetof(struct ROW, n_##member)                               \
    }
#define OPTIONAL_UINT32(member)                                                                    \
    {                                                                                              \
        AT(member), .kind = FIELD_UINT32, .max = UINT32_MAX, .optional = true                      \
    }
#define OPTIONAL_UPTO(member, high)                                                                \
    {                                                                                              \
        AT(member), .kind = FIELD_UINT32, .max = (high), .optional = true                          \
    }
#define OPTIONAL_UINT64(member)                                                                    \
    {                                                                                              \
        AT(member), .kind = FIELD_UINT64, .max = UINT64_MAX, .optional = true                      \
    }
#define OPTIONAL_REAL(member)                                                                      \
    {                                                                                              \
        AT(member), .kind = FIELD_REAL, .optional = true                                           \
    }
#define OPTIONAL_BOOL(member)                                                                      \
    {                                                                                              \
        AT(member), .kind = FIELD_BOOL, .optional = true                                           \
    }
#define OPTIONAL_STRING(member, high)                                                              \
    {                                                                                              \
        AT(member), .kind = FIELD_STRING, .max = (high), .optional = true                          \
    }
#define PROSE(member, high)                                                                        \
    {                                                                                              \
        AT(member), .kind = FIELD_STRING, .max = (high), .optional = true, .prose = true           \
    }
#define REQUEST UINT64(request, 1, UINT64_MAX)
/* The three keys of an attempt, flat in the map of what speaks about it. */
#define REF                                                                                        \
    {KEY("job"), .kind = FIELD_HASH, .offset = offsetof(struct ROW, ref.job)},                     \
        {KEY("index"), .kind = FIELD_UINT64, .max = INDEX_MAX,                                     \
         .offset = offsetof(struct ROW, ref.index)},                                               \
    {                                                                                              \
        KEY("attempt"), .kind = FIELD_UINT32, .min = 1, .max = UINT32_MAX,                         \
                        .offset = offsetof(struct ROW, ref.attempt)                                \
    }
#define TABLE(name)                                                                                \
    static const struct fields name = {                                                            \
        .size = sizeof(struct ROW), .n = sizeof name##_at / sizeof *name##_at, .at = name##_at}

#define ROW hello_precision
static const struct field hello_precision_at[] = {
    STRING(asked, 1, MSG_NAME_MAX),
    OPTIONAL_STRING(computed, MSG_NAME_MAX),
    STRING(device_class, 1, MSG_NAME_MAX),
};
TABLE(hello_precision);
#undef ROW

#define ROW msg_hello
static const struct field hello_at[] = {
    UINT32(protocol, 1, UINT32_MAX),
    UINT32(protocol_min, 1, UINT32_MAX),
    STRING(role, 1, MSG_NAME_MAX),
    PROSE(software, MSG_NAME_MAX),
    OPTIONAL_STRING(name, MSG_NAME_MAX),
    PROSE(device, MSG_NAME_MAX),
    OPTIONAL_STRING(device_class, MSG_NAME_MAX),
    OPTIONAL_UINT64(memory_bytes),
    OPTIONAL_UINT32(threads),
    OPTIONAL_STRING(host, MSG_NAME_MAX),
    OPTIONAL_UINT32(batch),
    OPTIONAL_STRING(gang_address, MSG_NAME_MAX),
    OPTIONAL_LIST(precisions, MSG_PRECISIONS_MAX, hello_precision),
};
TABLE(hello);
#undef ROW

#define ROW msg_welcome
static const struct field welcome_at[] = {
    UINT32(protocol, 1, UINT32_MAX),
    PROSE(software, MSG_NAME_MAX),
    UINT32(heartbeat_ms, 1, MSG_PERIOD_MAX_MS),
    UINT32(silence_ms, 1, MSG_PERIOD_MAX_MS),
    UINT32(frame_max, 1, UINT32_MAX),
};
TABLE(welcome);
#undef ROW

static const struct fields nothing = {.size = sizeof(struct msg_ping)};

#define ROW msg_error
static const struct field error_at[] = {
    OPTIONAL_UINT64(request),
    STRING(code, 1, MSG_NAME_MAX),
    PROSE(text, MSG_STRING_MAX),
};
TABLE(error);
#undef ROW

#define ROW held_row
struct held_row {
    struct attempt_ref ref;
};
static const struct field held_at[] = {REF};
TABLE(held);
#undef ROW

#define ROW msg_ready
static const struct field ready_at[] = {
    UINT32(credits, 0, MSG_PAGE_MAX),
    LIST(held, MSG_PAGE_MAX, held),
    OPTIONAL_STRING(meeting, MSG_STRING_MAX),
    OPTIONAL_UINT64(cache_hits),
    OPTIONAL_UINT64(cache_misses),
    OPTIONAL_UINT64(cache_evictions),
    OPTIONAL_UINT64(cache_damaged),
};
TABLE(ready);
#undef ROW

#define ROW lease_asset
static const struct field lease_asset_at[] = {
    STRING(role, 1, MSG_NAME_MAX), STRING(name, 1, MSG_NAME_MAX), HASH(sha256),
    OPTIONAL_BOOL(folder),         UINT64(bytes, 0, INDEX_MAX),
};
TABLE(lease_asset);
#undef ROW

#define ROW msg_want
static const struct field want_at[] = {
    HASH(sha256),
    UINT64(offset, 0, INDEX_MAX),
    UINT32(bytes, 1, MSG_CHUNK_MAX),
};
TABLE(want);
#undef ROW

#define ROW msg_chunk
static const struct field chunk_at[] = {
    HASH(sha256),
    UINT64(offset, 0, INDEX_MAX),
    UINT64(total, 1, INDEX_MAX),
    BYTES(data, MSG_CHUNK_MAX),
};
TABLE(chunk);
#undef ROW

#define ROW msg_gone
static const struct field gone_at[] = {
    HASH(sha256),
    STRING(code, 1, MSG_NAME_MAX),
    PROSE(text, MSG_STRING_MAX),
};
TABLE(gone);
#undef ROW

#define ROW msg_fetching
static const struct field fetching_at[] = {
    REF,
    UINT64(fetched, 0, INDEX_MAX),
    UINT64(total, 0, INDEX_MAX),
};
TABLE(fetching);
#undef ROW

#define ROW msg_lease
static const struct field lease_at[] = {
    REF,
    STRING(task, 1, MSG_TASK_MAX),
    OPTIONAL_LIST(assets, MSG_ASSETS_MAX, lease_asset),
    OPTIONAL_UPTO(gang_guidance, 2),
    OPTIONAL_UPTO(gang_tensor, 8),
    OPTIONAL_UPTO(gang_rank, MSG_GANG_MAX - 1),
    OPTIONAL_STRING(gang_meeting, MSG_STRING_MAX),
    OPTIONAL_BOOL(alone),
    OPTIONAL_BOOL(keep),
};
TABLE(lease);
#undef ROW

#define ROW msg_progress
static const struct field progress_at[] = {
    REF,
    UINT32(step, 0, UINT32_MAX),
    UINT32(steps, 0, UINT32_MAX),
};
TABLE(progress);
#undef ROW

#define ROW msg_result
static const struct field result_at[] = {
    REF,
    HASH(sha256),
    BYTES(png, MSG_PNG_MAX),
    STRING(device_class, 1, MSG_NAME_MAX),
    STRING(precision, 1, MSG_NAME_MAX),
    OPTIONAL_REAL(load_seconds),
    OPTIONAL_REAL(render_seconds),
    OPTIONAL_BOOL(black),
};
TABLE(result);
#undef ROW

#define ROW msg_helped
static const struct field helped_at[] = {REF};
TABLE(helped);
#undef ROW

#define ROW msg_failed
static const struct field failed_at[] = {
    REF,
    STRING(code, 1, MSG_NAME_MAX),
    PROSE(text, MSG_STRING_MAX),
    OPTIONAL_BOOL(retryable),
};
TABLE(failed);
#undef ROW

#define ROW msg_ack
static const struct field ack_at[] = {REF, STRING(verdict, 1, MSG_NAME_MAX)};
TABLE(ack);
#undef ROW

#define ROW msg_empty
static const struct field empty_at[] = {REF};
TABLE(empty);
#undef ROW

#define ROW msg_revoke
static const struct field revoke_at[] = {REF};
TABLE(revoke);
#undef ROW

#define ROW msg_submit
static const struct field submit_at[] = {
    REQUEST,
    BYTES(bundle, MSG_BUNDLE_MAX),
    OPTIONAL_STRING(token, MSG_NAME_MAX),
    OPTIONAL_UINT32(priority),
    OPTIONAL_BOOL(force),
};
TABLE(submit);
#undef ROW

#define ROW msg_submitted
static const struct field submitted_at[] = {
    REQUEST,
    HASH(job),
    OPTIONAL_BOOL(known),
    UINT64(tasks, 0, UINT64_MAX),
};
TABLE(submitted);
#undef ROW

#define ROW msg_list
static const struct field list_at[] = {
    REQUEST,
    OPTIONAL_UINT64(offset),
    UINT32(limit, 1, MSG_PAGE_MAX),
};
TABLE(list);
#undef ROW

#define ROW job_summary
static const struct field summary_at[] = {
    HASH(job),
    STRING(name, 0, MSG_NAME_MAX),
    STRING(state, 1, MSG_NAME_MAX),
    UINT64(tasks, 0, UINT64_MAX),
    UINT64(pending, 0, UINT64_MAX),
    UINT64(running, 0, UINT64_MAX),
    UINT64(done, 0, UINT64_MAX),
    UINT64(failed, 0, UINT64_MAX),
    OPTIONAL_UINT64(submitted_ms),
    OPTIONAL_UINT64(finished_ms),
    OPTIONAL_REAL(rate),
    OPTIONAL_REAL(eta_seconds),
    PROSE(folder, MSG_STRING_MAX),
    PROSE(sheet, MSG_STRING_MAX),
    OPTIONAL_UINT32(priority),
    PROSE(reason, MSG_STRING_MAX),
};
TABLE(summary);
#undef ROW

#define ROW msg_jobs
static const struct field jobs_at[] = {
    REQUEST,
    UINT64(total, 0, UINT64_MAX),
    LIST(jobs, MSG_PAGE_MAX, summary),
};
TABLE(jobs);
#undef ROW

#define ROW msg_status
static const struct field status_at[] = {REQUEST, STRING(job, 1, MSG_NAME_MAX)};
TABLE(status);
#undef ROW

#define ROW running_task
static const struct field running_at[] = {
    {KEY("job"), .kind = FIELD_HASH, .offset = offsetof(struct running_task, ref.job),
     .optional = true},
    {KEY("index"), .kind = FIELD_UINT64, .max = INDEX_MAX,
     .offset = offsetof(struct running_task, ref.index)},
    {KEY("attempt"), .kind = FIELD_UINT32, .max = UINT32_MAX,
     .offset = offsetof(struct running_task, ref.attempt)},
    OPTIONAL_STRING(worker, MSG_NAME_MAX),
    UINT32(step, 0, UINT32_MAX),
    UINT32(steps, 0, UINT32_MAX),
    UINT64(since_ms, 0, UINT64_MAX),
    OPTIONAL_UINT64(fetched),
    OPTIONAL_UINT64(fetch_bytes),
};
TABLE(running);
#undef ROW

#define ROW failure
static const struct field failure_at[] = {
    UINT64(index, 0, INDEX_MAX), UINT32(attempts, 0, UINT32_MAX), STRING(code, 1, MSG_NAME_MAX),
    PROSE(text, MSG_STRING_MAX), OPTIONAL_UINT64(tasks),
};
TABLE(failure);
#undef ROW

#define ROW msg_job
static const struct field job_at[] = {
    REQUEST,
    MAP(summary, summary),
    LIST(running, MSG_PAGE_MAX, running),
    LIST(failures, MSG_PAGE_MAX, failure),
    OPTIONAL_STRING(gang, MSG_NAME_MAX),
    OPTIONAL_REAL(gang_speedup),
    OPTIONAL_REAL(gang_step_ms),
};
TABLE(job);
#undef ROW

#define ROW msg_cancel
static const struct field cancel_at[] = {REQUEST, STRING(job, 1, MSG_NAME_MAX)};
TABLE(cancel);
#undef ROW

#define ROW msg_request_only
static const struct field workers_at[] = {REQUEST};
TABLE(workers);
#undef ROW

#define ROW block_row
static const struct field block_at[] = {
    PROSE(model, MSG_STRING_MAX),
    STRING(code, 1, MSG_NAME_MAX),
    OPTIONAL_UINT64(pixels),
    OPTIONAL_UINT32(tasks),
};
TABLE(block);
#undef ROW

#define ROW worker_row
static const struct field worker_at[] = {
    STRING(name, 0, MSG_NAME_MAX),
    PROSE(device, MSG_NAME_MAX),
    OPTIONAL_STRING(device_class, MSG_NAME_MAX),
    PROSE(software, MSG_NAME_MAX),
    STRING(state, 1, MSG_NAME_MAX),
    UINT64(done, 0, UINT64_MAX),
    UINT64(failed, 0, UINT64_MAX),
    UINT64(connected_ms, 0, UINT64_MAX),
    UINT64(silent_ms, 0, UINT64_MAX),
    LIST(running, MSG_PAGE_MAX, running),
    OPTIONAL_LIST(blocks, MSG_PAGE_MAX, block),
};
TABLE(worker);
#undef ROW

#define ROW msg_fleet
static const struct field fleet_at[] = {REQUEST, LIST(workers, MSG_FLEET_MAX, worker)};
TABLE(fleet);
#undef ROW

#define ROW msg_records
static const struct field records_at[] = {
    REQUEST,
    STRING(job, 1, MSG_NAME_MAX),
    {KEY("from"), .kind = FIELD_UINT64, .max = INDEX_MAX,
     .offset = offsetof(struct msg_records, from), .optional = true},
    UINT32(limit, 1, MSG_PAGE_MAX),
};
TABLE(records);
#undef ROW

#define ROW record_row
static const struct field record_at[] = {
    UINT64(index, 0, INDEX_MAX),
    STRING(state, 1, MSG_NAME_MAX),
    PROSE(path, MSG_STRING_MAX),
    OPTIONAL_STRING(sha256, HASH_HEX_SIZE - 1),
    OPTIONAL_UINT64(bytes),
    OPTIONAL_UINT32(attempt),
    OPTIONAL_STRING(worker, MSG_NAME_MAX),
    OPTIONAL_STRING(device_class, MSG_NAME_MAX),
    OPTIONAL_STRING(precision, MSG_NAME_MAX),
    OPTIONAL_REAL(render_seconds),
    OPTIONAL_STRING(code, MSG_NAME_MAX),
    PROSE(text, MSG_STRING_MAX),
};
TABLE(record);
#undef ROW

#define ROW msg_page
static const struct field page_at[] = {
    REQUEST,
    LIST(records, MSG_PAGE_MAX, record),
    UINT64(next, 0, UINT64_MAX),
};
TABLE(page);
#undef ROW

#define ROW msg_fetch
static const struct field fetch_at[] = {
    REQUEST,
    STRING(job, 1, MSG_NAME_MAX),
    UINT64(index, 0, INDEX_MAX),
};
TABLE(fetch);
#undef ROW

#define ROW msg_picture
static const struct field picture_at[] = {
    REQUEST,
    UINT64(index, 0, INDEX_MAX),
    PROSE(path, MSG_STRING_MAX),
    STRING(sha256, HASH_HEX_SIZE - 1, HASH_HEX_SIZE - 1),
    BYTES(png, MSG_PNG_MAX),
};
TABLE(picture);
#undef ROW

#define pause  cancel
#define resume cancel
#define remove cancel

#define ROW msg_retry
static const struct field retry_at[] = {
    REQUEST,
    STRING(job, 1, MSG_NAME_MAX),
    OPTIONAL_BOOL(failed),
};
TABLE(retry);
#undef ROW

#define ROW msg_drain
static const struct field drain_at[] = {REQUEST, STRING(worker, 1, MSG_NAME_MAX)};
TABLE(drain);
#undef ROW

#define ROW msg_history
static const struct field history_at[] = {
    REQUEST,
    STRING(job, 1, MSG_NAME_MAX),
    UINT64(index, 0, INDEX_MAX),
};
TABLE(history);
#undef ROW

#define ROW attempt_row
static const struct field attempt_at[] = {
    UINT32(attempt, 0, UINT32_MAX),      PROSE(worker, MSG_NAME_MAX),
    OPTIONAL_STRING(code, MSG_NAME_MAX), PROSE(text, MSG_STRING_MAX),
    OPTIONAL_UINT64(started_ms),         OPTIONAL_UINT64(ended_ms),
};
TABLE(attempt);
#undef ROW

#define ROW msg_attempts
static const struct field attempts_at[] = {
    REQUEST,
    UINT64(index, 0, INDEX_MAX),
    STRING(state, 1, MSG_NAME_MAX),
    LIST(attempts, MSG_PAGE_MAX, attempt),
};
TABLE(attempts);
#undef ROW

#define ROW msg_check
static const struct field check_at[] = {
    REQUEST,
    STRING(job, 1, MSG_NAME_MAX),
    {KEY("from"), .kind = FIELD_UINT64, .max = INDEX_MAX,
     .offset = offsetof(struct msg_check, from), .optional = true},
    UINT32(limit, 1, MSG_PAGE_MAX),
};
TABLE(check);
#undef ROW

#define ROW bad_file
static const struct field bad_at[] = {
    UINT64(index, 0, INDEX_MAX),
    PROSE(path, MSG_STRING_MAX),
    PROSE(text, MSG_STRING_MAX),
};
TABLE(bad);
#undef ROW

#define ROW msg_checked
static const struct field checked_at[] = {
    REQUEST,
    UINT64(files, 0, UINT64_MAX),
    UINT64(next, 0, UINT64_MAX),
    LIST(bad, MSG_PAGE_MAX, bad),
};
TABLE(checked);
#undef ROW

#define leave nothing
#define ping  nothing
#define pong  nothing
#define bye   nothing

const struct fields *msg_fields(enum msg_type type)
{
    static const struct fields *const tables[] = {
#define X(id, name, member) [id] = &member,
        MSG_TABLE(X)
#undef X
    };

    return tables[type];
}
