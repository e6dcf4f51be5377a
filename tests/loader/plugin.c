/* A plugin that does nothing, and in as many ways as there are switches is not what the contract asks for. */
#include "im_bridge_plugin.h"
#include <string.h>

#ifndef NAME
#define NAME "zoo"
#endif
#ifndef VERSION
#define VERSION "1.0.0"
#endif
#ifndef MAJOR
#define MAJOR IMB_ABI_MAJOR
#endif
#ifndef MINOR
#define MINOR IMB_ABI_MINOR
#endif
#ifndef MIN_HOST_MINOR
#define MIN_HOST_MINOR 0
#endif
#ifndef FLAGS
#define FLAGS 0
#endif
#ifndef ENTRY_NAME
#define ENTRY_NAME NAME
#endif
#ifndef ENTRY_MAGIC
#define ENTRY_MAGIC IMB_MAGIC
#endif
#ifndef ENTRY_MAJOR
#define ENTRY_MAJOR IMB_ABI_MAJOR
#endif
#ifndef TABLE_SIZE
#define TABLE_SIZE sizeof(imb_adapter)
#endif
#ifndef ANSWER
#define ANSWER 0 /* what `cancel` answers: tells loaded images apart */
#endif
#ifndef SETTLE
#define SETTLE settle
#endif
#ifndef DESCRIBE
#define DESCRIBE                                                                                                       \
  "{\"describe\":1,\"provider\":\"" NAME "\",\"adapter\":{\"name\":\"zoo\",\"version\":\"" VERSION "\"},"              \
  "\"model\":{\"major\":1,\"minor\":0},\"capabilities\":{\"events\":{\"message.created\":2},"                          \
  "\"transport\":{\"inbound\":\"push\",\"outbound\":\"http\",\"ack\":\"response\",\"poll_fallback\":false},"           \
  "\"limits\":{\"max_in_flight\":1,\"max_reads_in_flight\":1,\"max_payload_bytes\":null,"                              \
  "\"idempotency_key_chars\":64,\"recall_max_age_s\":null,\"media_by\":[],\"rate\":null},"                             \
  "\"guarantees\":{\"ordering\":\"channel\",\"inbound_ack\":\"none\",\"catch_up\":\"none\","                           \
  "\"sender_in_event\":true,\"provider_dedup\":false,\"verify_after_timeout\":false,"                                  \
  "\"message_time\":\"bridge\",\"self_echo\":false}},"                                                                 \
  "\"config_schema\":{\"type\":\"object\",\"additionalProperties\":false},\"config_examples\":[{}]}"
#endif

#ifndef NO_DESCRIPTOR
__attribute__((section(IMB_DESCRIPTOR_SECTION), used)) static const imb_descriptor descriptor = {
    IMB_MAGIC, sizeof(imb_descriptor), MAJOR, MINOR, FLAGS, MIN_HOST_MINOR, NAME, VERSION, "test", "cc", {0}};
#endif

static imb_status create(const imb_create *args, imb_instance **out, imb_buf *err) {
  (void)args, (void)out, (void)err;
  return IMB_E_UNSUPPORTED;
}
static imb_status start(imb_instance *self) { return (void)self, IMB_E_UNSUPPORTED; }
static imb_status grant(imb_instance *self, uint32_t events, uint64_t bytes) {
  (void)self, (void)events, (void)bytes;
  return IMB_OK;
}
__attribute__((unused)) static imb_status settle(imb_instance *self, const imb_settle *settles, uint32_t n) {
  (void)self, (void)settles, (void)n;
  return IMB_OK;
}
static imb_status execute(imb_instance *self, const imb_command *commands, uint32_t n) {
  (void)self, (void)commands, (void)n;
  return IMB_E_UNSUPPORTED;
}
static imb_status cancel(imb_instance *self, uint64_t id) { return (void)self, (void)id, ANSWER; }
static imb_status drain(imb_instance *self, uint32_t timeout_ms) { return (void)self, (void)timeout_ms, IMB_OK; }
static imb_status stop(imb_instance *self, uint32_t timeout_ms) { return (void)self, (void)timeout_ms, IMB_OK; }
static imb_status destroy(imb_instance *self) { return (void)self, IMB_OK; }
static const void *extension(imb_str name) { return (void)name, (void *)0; }

static const imb_adapter adapter = {TABLE_SIZE, 0,      create, start, grant,   SETTLE,
                                    execute,    cancel, drain,  stop,  destroy, extension};

static imb_status describe(imb_str *out) {
  static const char text[] = DESCRIBE;
  out->ptr = (const uint8_t *)text;
  out->len = sizeof text - 1;
  return IMB_OK;
}

#ifdef STATIC_TLS
static __thread int counter;
#endif
#ifdef MISSING_FUNCTION
extern int missing_function(void);
#endif
#ifdef USES_LIBC
extern int getpid(void);
#endif
#ifdef EXTRA_EXPORTS
IMB_EXPORT void helper_one(void) {}
IMB_EXPORT void helper_two(void) {}
#endif
#ifdef NEEDS_LIBRARY
extern int other(void);
#endif

#ifndef NO_ENTRY
static const imb_entry entry = {ENTRY_MAGIC,
                                sizeof(imb_entry),
                                ENTRY_MAJOR,
                                MINOR,
                                FLAGS,
                                0,
                                {(const uint8_t *)ENTRY_NAME, sizeof ENTRY_NAME - 1},
                                {(const uint8_t *)VERSION, sizeof VERSION - 1},
                                describe,
                                &adapter};

IMB_EXPORT const imb_entry *im_bridge_adapter_v1(uint32_t host_minor) {
  (void)host_minor;
#ifdef STATIC_TLS
  counter++;
#endif
#ifdef MISSING_FUNCTION
  if (missing_function()) return 0;
#endif
#ifdef NEEDS_LIBRARY
  if (other()) return 0;
#endif
#ifdef USES_LIBC
  if (getpid() == 0) return 0;
#endif
#ifdef NULL_ENTRY
  return 0;
#endif
  return &entry;
}
#endif
