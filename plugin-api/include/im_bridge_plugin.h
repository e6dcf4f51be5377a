/* SPDX-License-Identifier: Apache-2.0
 *
 * The C ABI between im-bridge and a provider adapter, which is a shared object with one exported symbol.
 *
 * Who owns memory: an imb_str, an array and a struct passed by pointer are BORROWED and end with the call. An imb_buf
 * is OWNED: when the call took it, the receiver calls its release exactly once, on any thread, at any time; when the
 * call was refused, it is still the caller's. After IMB_E_PANIC it counts as taken. Nobody frees the other side's
 * memory in any other way, and images are never unmapped, so that a late release is safe.
 *
 * Threads: [control] one call at a time per instance, may block up to its time limit; [quick] any host thread,
 * concurrently, must not block; [any] any thread. Nothing unwinds across the boundary.
 *
 * Reading: a struct or table of the other side may be shorter or longer than here. Copy min(size, own size) bytes into
 * zeroed memory of your own and look at that; a missing function is NULL, a missing field is zero.
 *
 * Comments give sizes in brackets and each field's offset; 64-bit targets only. The meaning of each function is told at
 * length in the documentation of the Rust package im-bridge-plugin-api. layout.snapshot holds the same facts as text.
 */
#ifndef IM_BRIDGE_PLUGIN_H
#define IM_BRIDGE_PLUGIN_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define IMB_ABI_MAJOR 1u
#define IMB_ABI_MINOR 0u
#define IMB_MAGIC {'I','M','B','R','I','D','G','E'} /* initialiser of magic in imb_descriptor and imb_entry */
#define IMB_ENTRY_SYMBOL "im_bridge_adapter_v1"
#define IMB_DESCRIPTOR_SECTION ".im_bridge.adapter" /* constant data; not linked with --gc-sections */
#define IMB_EXPORT __attribute__((visibility("default"))) /* the rest is compiled with -fvisibility=hidden */
#define IMB_BATCH_MAX 1024u                     /* most elements in one array argument */
#define IMB_PAYLOAD_MAX 1048576u                /* most bytes in an event payload, command body, completion body */

typedef struct imb_instance imb_instance;       /* opaque: one account in one adapter */

/* Values without a size field: frozen for all of major 1. */

typedef struct imb_str {                        /* [16] BORROWED until the call returns; UTF-8; not NUL-terminated */
  const uint8_t *ptr;                           /*   0  may be NULL when len is 0 */
  size_t len;                                   /*   8  0 = absent */
} imb_str;

typedef struct imb_buf {                        /* [32] OWNED: the holder calls release exactly once */
  const uint8_t *ptr;                           /*   0 */
  size_t len;                                   /*   8 */
  void *owner;                                  /*  16  opaque, handed back to release */
  void (*release)(void *owner, const uint8_t *ptr, size_t len); /* 24  [any]; NULL = nothing to free */
} imb_buf;

typedef struct imb_trace {                      /* [32] W3C trace context; all zero = none */
  uint8_t trace_id[16];                         /*   0 */
  uint8_t span_id[8];                           /*  16 */
  uint8_t flags;                                /*  24 */
  uint8_t pad[7];                               /*  25 */
} imb_trace;

typedef struct imb_pair { imb_str key; imb_str value; } imb_pair; /* [32] 0, 16 */

typedef struct imb_settle {                     /* [16] */
  uint64_t token;                               /*   0 */
  uint32_t outcome;                             /*   8  IMB_OUTCOME_*; unknown = RETRY */
  uint32_t reserved;                            /*  12  0 */
} imb_settle;

/* Named integers. */

typedef int32_t imb_status;                     /* >= 0 success, a count where said so; < 0 error */
enum {
  IMB_OK = 0,
  IMB_ACCEPTED = 1,                             /* completions only: handed over, confirmation follows as an event */
  IMB_E_INVALID = -1, IMB_E_UNSUPPORTED = -2, IMB_E_NOT_FOUND = -3, IMB_E_FORBIDDEN = -4, IMB_E_CONFLICT = -5,
  IMB_E_RATE_LIMITED = -6, IMB_E_UNAVAILABLE = -7, IMB_E_AUTH = -8,
  IMB_E_UNCERTAIN = -9,                         /* may or may not have happened */
  IMB_E_INTERNAL = -10,                         /* also the meaning of any unknown negative value */
  IMB_E_PANIC = -11,                            /* the callee caught a panic: the instance is poisoned */
  IMB_E_CLOSED = -12                            /* the callee takes nothing any more */
};
enum { IMB_OUTCOME_STORED = 1, IMB_OUTCOME_DUPLICATE = 2, IMB_OUTCOME_REJECTED = 3, IMB_OUTCOME_RETRY = 4 };
enum { IMB_DELIVERY_LIVE = 0, IMB_DELIVERY_BACKFILL = 1, IMB_DELIVERY_REPLAY = 2 };           /* unknown = LIVE */
enum { IMB_ORIGIN_REMOTE = 0, IMB_ORIGIN_SELF_OTHER_DEVICE = 1, IMB_ORIGIN_BRIDGE = 2 };      /* unknown = REMOTE */
enum { IMB_ORDER_NONE = 0, IMB_ORDER_CHANNEL = 1, IMB_ORDER_ACCOUNT = 2 };                    /* unknown = NONE */
enum {                                                                                        /* unknown = AUX */
  IMB_NOISE_COMMAND = 1, IMB_NOISE_EVENT = 2, IMB_NOISE_SESSION = 3, IMB_NOISE_POLL_HIT = 4,
  IMB_NOISE_POLL_EMPTY = 5, IMB_NOISE_HEARTBEAT = 6, IMB_NOISE_AUX = 7
};
enum {                                          /* unknown = DEGRADED; starting, unconfigured, stopped are the core's */
  IMB_STATE_LOGGING_IN = 1, IMB_STATE_CONNECTING = 2, IMB_STATE_CATCHING_UP = 3, IMB_STATE_ONLINE = 4,
  IMB_STATE_DEGRADED = 5, IMB_STATE_BACKOFF = 6, IMB_STATE_CHALLENGE_REQUIRED = 7, IMB_STATE_CONFLICTED = 8,
  IMB_STATE_BAD_CREDENTIALS = 9, IMB_STATE_LOGGED_OUT = 10, IMB_STATE_FAILED = 11,
  IMB_STATE_PANICKED = 100                      /* a task of the adapter panicked: the instance is poisoned */
};
/* Ordered: what lies above the wanted level is not wanted; unknown = TRACE. */
enum { IMB_LOG_OFF = 0, IMB_LOG_ERROR = 1, IMB_LOG_WARN = 2, IMB_LOG_INFO = 3, IMB_LOG_DEBUG = 4, IMB_LOG_TRACE = 5 };

/* Flags: bits 0-15 may be ignored when unknown; an unknown bit 16-31 makes the receiver refuse (IMB_E_UNSUPPORTED). */
#define IMB_DESC_TEST_HOOKS   (1u << 0)         /* built with the SDK feature test-hooks */
#define IMB_DESC_PANIC_ABORT  (1u << 16)        /* built with panic=abort */
#define IMB_DESC_PROCESS_ONLY (1u << 17)        /* must run in a child process */
#define IMB_CMD_REDELIVERED   (1u << 0)         /* the key was handed to an adapter before: look before acting */

/* Structs that grow: size first, fields only appended; arrays are walked with the FIRST element's size as stride. */

typedef struct imb_event {                      /* [208] */
  uint32_t size;                                /*   0 */
  uint32_t flags;                               /*   4 */
  uint64_t token;                               /*   8  unique among this instance's unsettled events */
  int64_t time_ms;                              /*  16  provider's time, Unix ms; 0 = not given, the host's is used */
  imb_str kind;                                 /*  24  "message.created" */
  imb_str channel;                              /*  40  exact native id; absent = no channel */
  imb_str native_id;                            /*  56  exact native id of what happened */
  imb_str native_rev;                           /*  72  native revision, for edits */
  imb_str order_key;                            /*  88  sorts correctly as a string inside order_scope */
  imb_str client_ref;                           /* 104  idempotency key, when this echoes a command */
  uint8_t delivery;                             /* 120  IMB_DELIVERY_* */
  uint8_t origin;                               /* 121  IMB_ORIGIN_* */
  uint8_t order_scope;                          /* 122  IMB_ORDER_* */
  uint8_t noise;                                /* 123  IMB_NOISE_*; 0 = EVENT */
  uint32_t reserved;                            /* 124  0 */
  imb_trace trace;                              /* 128  from op, a webhook request or the causing command; else zero */
  imb_buf payload;                              /* 160  UTF-8 JSON of the event's `data`; taken when accepted */
  const imb_pair *meta;                         /* 192  at most 8 telemetry facts; borrowed; never published */
  size_t meta_len;                              /* 200 */
} imb_event;

typedef struct imb_command {                    /* [120] */
  uint32_t size;                                /*   0 */
  uint32_t flags;                               /*   4  IMB_CMD_* */
  uint64_t id;                                  /*   8  never reused within an instance */
  int64_t deadline_ms;                          /*  16  Unix ms; always set */
  imb_str name;                                 /*  24  "message.send" */
  imb_str channel;                              /*  40  exact native id, also for to.user_id; absent: none named */
  imb_str idempotency_key;                      /*  56  already shortened to the declared limit */
  imb_str body;                                 /*  72  UTF-8 JSON {"params":{...},"options":{...}} */
  imb_trace trace;                              /*  88  parent for everything done for this command */
} imb_command;

typedef struct imb_completion {                 /* [96] */
  uint32_t size;                                /*   0 */
  int32_t status;                               /*   4  OK, ACCEPTED or an error class; PANIC and CLOSED are not used */
  uint64_t id;                                  /*   8 */
  uint64_t retry_after_ms;                      /*  16  0 = no hint */
  imb_str code;                                 /*  24  error code of the event model, "too_old"; absent on success */
  imb_str native_id;                            /*  40  what was made or changed */
  imb_buf body;                                 /*  56  JSON: result, or {message, native, hint, path, result}; taken */
  uint8_t certain;                              /*  88  errors: 1 = the action surely did not happen */
  uint8_t pad[7];                               /*  89 */
} imb_completion;

typedef struct imb_report {                     /* [80] */
  uint32_t size;                                /*   0 */
  uint32_t state;                               /*   4  IMB_STATE_* */
  int64_t next_attempt_ms;                      /*   8  Unix ms; 0 = none planned */
  imb_str reason;                               /*  16  code of the event model or of the adapter, [a-z0-9_]{1,48} */
  imb_str self_id;                              /*  32  own native user id, once known */
  imb_str transport;                            /*  48  "websocket", "http", "tcp" */
  imb_str detail;                               /*  64  JSON, at most 16 KiB: challenge, error, capabilities */
} imb_report;

typedef struct imb_log {                        /* [88] */
  uint32_t size;                                /*   0 */
  uint32_t level;                               /*   4  IMB_LOG_* */
  imb_str target;                               /*   8 */
  imb_str message;                              /*  24  cut at 8 KiB */
  const imb_pair *fields;                       /*  40  at most 16 */
  size_t fields_len;                            /*  48 */
  imb_trace trace;                              /*  56 */
} imb_log;

typedef struct imb_op {                         /* [112] one finished operation */
  uint32_t size;                                /*   0 */
  uint16_t noise;                               /*   4  IMB_NOISE_* */
  int16_t status;                               /*   6  imb_status */
  uint64_t items;                               /*   8  messages in a poll, bytes or frames elsewhere */
  int64_t start_ns;                             /*  16  Unix ns */
  int64_t end_ns;                               /*  24 */
  imb_str name;                                 /*  32  declared in describe.operations; others count as "other" */
  imb_str detail;                               /*  48  "POST /v1/message/send 200"; no query, no ids, no secrets */
  imb_trace parent;                             /*  64 */
  const imb_pair *attrs;                        /*  96  at most 16 */
  size_t attrs_len;                             /* 104 */
} imb_op;

/* Host table: one per instance, valid from create until destroy returns. All functions [any], never blocking. */

typedef struct imb_host {                       /* [64] */
  uint32_t size;                                /*   0 */
  uint32_t minor;                               /*   4  the host's ABI minor */
  void *ctx;                                    /*   8  first argument of every function */
  /* Number taken, from the front; takes exactly those payloads. Fewer = no credit now. */
  imb_status (*emit)(void *ctx, const imb_event *events, uint32_t n);               /*  16 */
  /* OK: all n bodies taken. CLOSED, or INVALID because of any element: none. */
  imb_status (*complete)(void *ctx, const imb_completion *completions, uint32_t n); /*  24 */
  imb_status (*report)(void *ctx, const imb_report *report);                        /*  32  copied */
  /* Copied. Returns the highest level wanted now; record NULL = ask only. */
  imb_status (*log)(void *ctx, const imb_log *record);                              /*  40 */
  /* Copied. span (may be NULL) receives the context for what follows from this operation, zero if it leaves no span. */
  imb_status (*op)(void *ctx, const imb_op *op, imb_trace *span);                   /*  48 */
  const void *(*extension)(void *ctx, imb_str name);                                /*  56  static table or NULL */
} imb_host;

/* Adapter table: static. */

typedef struct imb_create {                     /* [64] everything borrowed, except host */
  uint32_t size;                                /*   0 */
  uint32_t flags;                               /*   4 */
  const imb_host *host;                         /*   8 */
  imb_str provider;                             /*  16 */
  imb_str account;                              /*  32  the operator's alias */
  imb_str config;                               /*  48  JSON with secrets resolved; the host wipes it after the call */
} imb_create;

typedef struct imb_adapter {                    /* [88] */
  uint32_t size;                                /*   0 */
  uint32_t reserved;                            /*   4  0 */
  /* [control] Validate, allocate; no I/O, no threads. On error *err = JSON {code, message, pointer}; taken. */
  imb_status (*create)(const imb_create *args, imb_instance **out, imb_buf *err);     /*   8 */
  /* [control] Start threads and connection, return at once. On error everything started is undone. */
  imb_status (*start)(imb_instance *self);                                            /*  16 */
  /* [quick] That much more may be emitted. 0, 0 = try again. */
  imb_status (*grant)(imb_instance *self, uint32_t events, uint64_t bytes);           /*  24 */
  /* [quick] Copied. Exactly once per accepted event, in any order. */
  imb_status (*settle)(imb_instance *self, const imb_settle *settles, uint32_t n);    /*  32 */
  /* [quick] Copied and queued; returns how many, from the front. Each of those is completed exactly once. */
  imb_status (*execute)(imb_instance *self, const imb_command *commands, uint32_t n); /*  40 */
  /* [quick] Best effort; the completion still comes. */
  imb_status (*cancel)(imb_instance *self, uint64_t id);                              /*  48 */
  /* [control] Stop reading; wait for settles and completions. Returns what is still open; 0 = clean. */
  imb_status (*drain)(imb_instance *self, uint32_t timeout_ms);                       /*  56 */
  /* [control] Close everything, join every thread. Negative = something still runs. */
  imb_status (*stop)(imb_instance *self, uint32_t timeout_ms);                        /*  64 */
  /* [control] Free the instance. */
  imb_status (*destroy)(imb_instance *self);                                          /*  72 */
  const void *(*extension)(imb_str name);                                             /*  80  [any] static or NULL */
} imb_adapter;

typedef struct imb_entry {                      /* [72] static */
  uint8_t magic[8];                             /*   0 */
  uint32_t size;                                /*   8 */
  uint16_t major;                               /*  12 */
  uint16_t minor;                               /*  14  both sides use the lower minor */
  uint32_t flags;                               /*  16  as in the descriptor */
  uint32_t reserved;                            /*  20  0 */
  imb_str name;                                 /*  24  static; equal to the descriptor's */
  imb_str version;                              /*  40  static; equal to the descriptor's */
  imb_status (*describe)(imb_str *out);         /*  56  [control] JSON, valid for the life of the process */
  const imb_adapter *adapter;                   /*  64 */
} imb_entry;

typedef struct imb_descriptor {                 /* [256] static, in its own section; no pointers, no relocations */
  uint8_t magic[8];                             /*   0 */
  uint32_t size;                                /*   8  256 */
  uint16_t major;                               /*  12  the ABI built for */
  uint16_t minor;                               /*  14 */
  uint32_t flags;                               /*  16  IMB_DESC_* */
  uint32_t min_host_minor;                      /*  20  oldest host minor it can work with */
  uint8_t name[48];                             /*  24  provider id, zero-padded ASCII */
  uint8_t version[32];                          /*  72  semantic version */
  uint8_t target[48];                           /* 104  target triple, for messages */
  uint8_t toolchain[64];                        /* 152  "rustc 1.95.0 sdk 1.0.3", for messages */
  uint8_t reserved[40];                         /* 216  0 */
} imb_descriptor;

/* [control] The only exported symbol. NULL = this host is refused. */
IMB_EXPORT const imb_entry *im_bridge_adapter_v1(uint32_t host_minor);

/* Extensions, asked for by name with the function `extension` of either side; NULL = not offered. Each table begins
   with its size. Adapter-side functions are [quick] and called between start and the return of stop only; host-side
   functions are [any] and never block. */

#define IMB_EXT_KV      "imb.kv/1"              /* both sides: the account's small durable state */
#define IMB_EXT_METRICS "imb.metrics/1"         /* host: metrics of the adapter's own */
#define IMB_EXT_CLOCK   "imb.clock/1"           /* both sides, test hosts only: simulated time */
#define IMB_EXT_VERIFY  "imb.verify/1"          /* adapter: did this command happen? */
#define IMB_EXT_WEBHOOK "imb.webhook/1"         /* both sides: HTTP pushes from the provider */

/* imb.kv/1 */

enum { IMB_KV_GET = 1, IMB_KV_PUT = 2, IMB_KV_DELETE = 3, IMB_KV_LIST = 4 };                 /* unknown = UNSUPPORTED */
#define IMB_KV_ANY UINT64_MAX                   /* revision: do not compare */
#define IMB_KV_SECRET (1u << 16)                /* flag of put: never shown, logged or exported */

typedef struct imb_kv_request {                 /* [64] */
  uint32_t size;                                /*   0 */
  uint32_t flags;                               /*   4 */
  uint64_t request;                             /*   8  id chosen by the adapter */
  uint64_t revision;                            /*  16  put, delete: expected; 0 = must not exist; IMB_KV_ANY */
  uint32_t verb;                                /*  24  IMB_KV_* */
  uint32_t ttl_s;                               /*  28  put: 0 = keep */
  imb_str key;                                  /*  32  list: prefix */
  imb_str value;                                /*  48  put: at most 64 KiB */
} imb_kv_request;

typedef struct imb_kv_result {                  /* [56] */
  uint32_t size;                                /*   0 */
  int32_t status;                               /*   4  OK; NOT_FOUND; CONFLICT = other revision; UNAVAILABLE; ... */
  uint64_t request;                             /*   8 */
  uint64_t revision;                            /*  16  now current */
  imb_buf value;                                /*  24  get: the value; list: JSON {"key": revision}; always taken */
} imb_kv_result;

typedef struct imb_kv_host {                    /* [16] */
  uint32_t size;                                /*   0 */
  uint32_t reserved;                            /*   4 */
  imb_status (*submit)(void *ctx, const imb_kv_request *requests, uint32_t n); /* 8  copied; number taken */
} imb_kv_host;

typedef struct imb_kv_adapter {                 /* [16] */
  uint32_t size;                                /*   0 */
  uint32_t reserved;                            /*   4 */
  imb_status (*done)(imb_instance *self, const imb_kv_result *results, uint32_t n); /* 8 */
} imb_kv_adapter;

/* imb.metrics/1 */

enum { IMB_METRIC_COUNTER = 1, IMB_METRIC_GAUGE = 2, IMB_METRIC_HISTOGRAM = 3 };                  /* unknown = UNSUPPORTED */

typedef struct imb_label {                      /* [32] frozen */
  imb_str name;                                 /*   0 */
  const imb_str *values;                        /*  16  the closed set of values */
  size_t values_len;                            /*  24  at most 16 */
} imb_label;

typedef struct imb_metric {                     /* [88] */
  uint32_t size;                                /*   0 */
  uint32_t kind;                                /*   4  IMB_METRIC_* */
  imb_str name;                                 /*   8  [a-z][a-z0-9_]{0,47}; exported as im_bridge_adapter_<name> */
  imb_str unit;                                 /*  24  UCUM: "s", "By", "1" */
  imb_str help;                                 /*  40 */
  const imb_label *labels;                      /*  56  at most 3, besides provider and account */
  size_t labels_len;                            /*  64 */
  const double *buckets;                        /*  72  histograms: ascending, at most 16 */
  size_t buckets_len;                           /*  80 */
} imb_metric;

typedef struct imb_metrics_host {               /* [24] */
  uint32_t size;                                /*   0 */
  uint32_t reserved;                            /*   4 */
  imb_status (*define)(void *ctx, const imb_metric *metric);                  /*  8  copied; id >= 0; only in create */
  imb_status (*record)(void *ctx, uint32_t id, double value, const uint16_t *label_values, uint32_t n); /* 16 */
} imb_metrics_host;

/* imb.clock/1 */

typedef struct imb_clock_host {                 /* [32] */
  uint32_t size;                                /*   0 */
  uint32_t reserved;                            /*   4 */
  int64_t (*now_ms)(void *ctx);                                               /*  8  Unix ms */
  int64_t (*mono_ns)(void *ctx);                                              /* 16 */
  imb_status (*timer)(void *ctx, uint64_t id, uint64_t delay_ms);             /* 24  UINT64_MAX = cancel */
} imb_clock_host;

typedef struct imb_clock_adapter {              /* [16] */
  uint32_t size;                                /*   0 */
  uint32_t reserved;                            /*   4 */
  imb_status (*fired)(imb_instance *self, const uint64_t *ids, uint32_t n);   /*  8 */
} imb_clock_adapter;

/* imb.verify/1 */

typedef struct imb_verify_adapter {             /* [16] */
  uint32_t size;                                /*   0 */
  uint32_t reserved;                            /*   4 */
  imb_status (*verify)(imb_instance *self, const imb_command *commands, uint32_t n); /* 8  as execute */
} imb_verify_adapter;

/* imb.webhook/1 */

typedef struct imb_webhook_request {            /* [168] */
  uint32_t size;                                /*   0 */
  uint32_t flags;                               /*   4 */
  uint64_t id;                                  /*   8 */
  int64_t deadline_ms;                          /*  16  Unix ms; after it the host has answered 504 */
  imb_str method;                               /*  24  "POST", "PUT" or "GET" */
  imb_str path;                                 /*  40  after /hooks/<provider>/<account>; "" or begins with "/" */
  imb_str query;                                /*  56  raw, without "?" */
  imb_str peer;                                 /*  72  address of the TCP peer */
  const imb_pair *headers;                      /*  88  names in lower case, order kept; at most 64, 16 KiB */
  size_t headers_len;                           /*  96 */
  imb_trace trace;                              /* 104  put into every event made from this request */
  imb_buf body;                                 /* 136  raw bytes, complete; taken only on IMB_OK */
} imb_webhook_request;

typedef struct imb_webhook_response {           /* [64] */
  uint32_t size;                                /*   0 */
  uint32_t status;                              /*   4  HTTP status, 200-599; others become 500 */
  uint64_t id;                                  /*   8 */
  const imb_pair *headers;                      /*  16  only content-type, retry-after, www-authenticate are sent */
  size_t headers_len;                           /*  24 */
  imb_buf body;                                 /*  32  at most 64 KiB; taken */
} imb_webhook_response;

typedef struct imb_webhook_adapter {            /* [24] */
  uint32_t size;                                /*   0 */
  uint32_t reserved;                            /*   4 */
  /* OK: taken, exactly one respond follows. Negative: the host answers (UNAVAILABLE 503, NOT_FOUND 404, else 500). */
  imb_status (*request)(imb_instance *self, const imb_webhook_request *request); /*  8 */
  imb_status (*cancel)(imb_instance *self, uint64_t id);                         /* 16  caller gone or deadline over */
} imb_webhook_adapter;

typedef struct imb_webhook_host {               /* [16] */
  uint32_t size;                                /*   0 */
  uint32_t reserved;                            /*   4 */
  imb_status (*respond)(void *ctx, const imb_webhook_response *response);       /*  8  NOT_FOUND: too late, not taken */
} imb_webhook_host;

#ifdef __cplusplus
}
#endif
#endif
