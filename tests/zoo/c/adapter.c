/* An adapter for im-bridge in one file of C: what the contract asks for, and nothing else.
 * cc -shared -fPIC -fvisibility=hidden -I plugin-api/include -o libc_adapter.so tests/zoo/c/adapter.c
 * It plays a provider that echoes: "message.send" is answered, and what was sent comes back as "message.created". */
#include "im_bridge_plugin.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef VERSION
#define VERSION "1.0.0"
#endif
#ifndef MORE /* members of the description */
#define MORE ""
#endif
#ifndef TABLE /* another file may include this one and put functions of its own in front */
#define TABLE(function) function
#endif
#define STR(text) {(const uint8_t *)(text), sizeof(text) - 1}

struct imb_instance {
  const imb_host *host; /* valid until destroy returns */
  uint64_t tokens;      /* given out so far; execute is never called twice at the same time */
  uint64_t settled;
  void *user;
};

static void give_back(void *owner, const uint8_t *ptr, size_t len) { (void)ptr, (void)len, free(owner); }

static imb_buf copy_of(const void *bytes, size_t len) {
  imb_buf buf = {malloc(len), len, NULL, give_back};
  return buf.owner = memcpy((void *)buf.ptr, bytes, len), buf;
}

static imb_status create(const imb_create *args, imb_instance **out, imb_buf *err) {
  (void)err;
  if (!(*out = calloc(1, sizeof **out))) return IMB_E_UNAVAILABLE;
  (*out)->host = args->host;
  return IMB_OK;
}
static imb_status start(imb_instance *self) { return (void)self, IMB_OK; }
static imb_status grant(imb_instance *self, uint32_t events, uint64_t bytes) {
  return (void)self, (void)events, (void)bytes, IMB_OK; /* the host's answer to emit says what is left */
}
static imb_status settle(imb_instance *self, const imb_settle *settles, uint32_t n) {
  (void)settles; /* a real provider is acknowledged here: unless the outcome is RETRY */
  __atomic_fetch_add(&self->settled, n, __ATOMIC_RELAXED);
  return IMB_OK;
}

static imb_status emit_echo(imb_instance *self, imb_str channel, imb_str key, const void *data, size_t len) {
  char id[24];
  uint64_t token = __atomic_add_fetch(&self->tokens, 1, __ATOMIC_RELAXED);
  imb_event event = {.size = sizeof event, .token = token, .kind = STR("message.created"), .channel = channel};
  event.native_id = (imb_str){(uint8_t *)id, (size_t)snprintf(id, sizeof id, "m%llu", (unsigned long long)token)};
  event.client_ref = key;
  event.origin = IMB_ORIGIN_BRIDGE;
  event.payload = copy_of(data, len);
  imb_status taken = self->host->emit(self->host->ctx, &event, 1);
  if (taken != 1) give_back(event.payload.owner, NULL, 0); /* refused means not taken */
  return taken;
}

static imb_status execute(imb_instance *self, const imb_command *commands, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    const imb_command *command = (const imb_command *)((const uint8_t *)commands + i * (size_t)commands->size);
    imb_status taken = emit_echo(self, command->channel, command->idempotency_key, command->body.ptr, command->body.len);
    imb_completion done = {.size = sizeof done, .id = command->id, .native_id = STR("m1"), .certain = 1};
    done.status = taken == 1 ? IMB_OK : IMB_E_UNAVAILABLE;
    done.body = copy_of("{}", 2);
    if (self->host->complete(self->host->ctx, &done, 1) != IMB_OK) give_back(done.body.owner, NULL, 0);
  }
  return (imb_status)n;
}
static imb_status cancel(imb_instance *self, uint64_t id) { return (void)self, (void)id, IMB_OK; }
static imb_status drain(imb_instance *self, uint32_t ms) { return (void)self, (void)ms, IMB_OK; }
static imb_status stop(imb_instance *self, uint32_t ms) { return (void)self, (void)ms, IMB_OK; }
static imb_status destroy(imb_instance *self) { return free(self), IMB_OK; }
static const void *extension(imb_str name) { return (void)name, NULL; }

static imb_status describe(imb_str *out) {
  static const imb_str text = STR(
      "{\"describe\":1,\"provider\":\"c-echo\",\"adapter\":{\"name\":\"c-echo\",\"version\":\"" VERSION "\"},"
      "\"model\":{\"major\":1,\"minor\":0},\"operations\":{\"send\":\"command\"},"
      "\"capabilities\":{\"events\":{\"message.created\":2},\"commands\":{\"message.send\":2},"
      "\"transport\":{\"inbound\":\"push\",\"outbound\":\"http\",\"ack\":\"response\",\"poll_fallback\":false},"
      "\"limits\":{\"max_in_flight\":1,\"max_reads_in_flight\":1,\"max_payload_bytes\":null,\"idempotency_key_chars\":64,"
      "\"recall_max_age_s\":null,\"media_by\":[],\"rate\":null},"
      "\"guarantees\":{\"ordering\":\"channel\",\"inbound_ack\":\"each\",\"catch_up\":\"none\",\"sender_in_event\":true,"
      "\"provider_dedup\":false,\"verify_after_timeout\":false,\"message_time\":\"bridge\",\"self_echo\":false}},"
      "\"session\":{\"overlap\":true,\"ack\":\"each\"},\"config_schema\":{\"type\":\"object\",\"properties\":{},"
      "\"additionalProperties\":false},\"config_examples\":[{}],\"state_version\":1" MORE "}");
  return *out = text, IMB_OK;
}

static const imb_adapter table = {sizeof table,  0,             TABLE(create), TABLE(start),   TABLE(grant),    TABLE(settle),
                                  TABLE(execute), TABLE(cancel), TABLE(drain),  TABLE(stop),    TABLE(destroy),  extension};
static const imb_entry entry = {
    IMB_MAGIC, sizeof entry, IMB_ABI_MAJOR, IMB_ABI_MINOR, 0, 0, STR("c-echo"), STR(VERSION), describe, &table};
__attribute__((section(IMB_DESCRIPTOR_SECTION), used)) static const imb_descriptor descriptor = {
    IMB_MAGIC, sizeof descriptor, IMB_ABI_MAJOR, IMB_ABI_MINOR, 0, 0, "c-echo", VERSION, "x86_64-unknown-linux-gnu", "cc", {0}};

const imb_entry *im_bridge_adapter_v1(uint32_t host_minor) { return (void)host_minor, &entry; }
