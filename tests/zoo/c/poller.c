/* An adapter whose provider is a script: it reports operations as an adapter that polls would, without waiting for time.
 * cc -shared -fPIC -fvisibility=hidden -I plugin-api/include -o libpoller.so tests/zoo/c/poller.c
 * Instructions are "verb|argument|argument". The account's "script" is carried out when the first credit comes, the
 * channel of a command when the command does; a channel that is no instruction is simply answered. */
#include "im_bridge_plugin.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STR(text) {(const uint8_t *)(text), sizeof(text) - 1}
#define SECOND 1000000000LL
#define MS 1000000LL

struct imb_instance {
  const imb_host *host;
  uint64_t tokens;
  int has_run;
  int executed;
  char script[512];
};

static void give_back(void *owner, const uint8_t *ptr, size_t len) { (void)ptr, (void)len, free(owner); }
static imb_buf copy_of(const void *bytes, size_t len) {
  imb_buf buf = {malloc(len), len, NULL, give_back};
  return buf.owner = memcpy((void *)buf.ptr, bytes, len), buf;
}
static imb_str text(const char *from) { return (imb_str){(const uint8_t *)from, strlen(from)}; }
static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * SECOND + now.tv_nsec;
}

/* One finished operation; url may be NULL. */
static imb_trace did(imb_instance *self, const char *name, uint16_t noise, int16_t status, int64_t start, int64_t end,
                     const imb_trace *parent, const char *url) {
  imb_pair pairs[3] = {{STR("http.request.method"), STR("POST")}, {STR("url.template"), STR("/v1/any")}, {STR("url.full"), {0}}};
  imb_op op = {.size = sizeof op, .noise = noise, .status = status, .start_ns = start, .end_ns = end, .name = text(name)};
  imb_trace span = {0};
  if (parent) op.parent = *parent;
  if (url && *url) pairs[2].value = text(url), op.attrs = pairs, op.attrs_len = 3;
  self->host->op(self->host->ctx, &op, &span);
  return span;
}

static int emit(imb_instance *self, const char *kind, const char *channel, uint8_t noise, uint8_t delivery, imb_trace trace) {
  static const char data[] = "{\"message\":{\"segments\":[]}}";
  char id[24];
  uint64_t token = ++self->tokens;
  imb_event event = {.size = sizeof event, .token = token, .kind = text(kind), .channel = text(channel),
                     .noise = noise, .delivery = delivery, .trace = trace};
  event.native_id = (imb_str){(uint8_t *)id, (size_t)snprintf(id, sizeof id, "m%llu", (unsigned long long)token)};
  event.payload = copy_of(data, sizeof data - 1);
  imb_status taken = self->host->emit(self->host->ctx, &event, 1);
  if (taken != 1) give_back(event.payload.owner, NULL, 0);
  return taken == 1;
}

/* What an instruction asks; `parent` is the command's. */
static imb_status run(imb_instance *self, const char *script, const imb_trace *parent) {
  char words[512], *verb = words, *number = NULL, *url = NULL;
  snprintf(words, sizeof words, "%s", script);
  if ((number = strchr(verb, '|'))) *number++ = 0;
  if (number && (url = strchr(number, '|'))) *url++ = 0;
  long count = number ? atol(number) : 0;
  int64_t now = now_ns();
  if (!strcmp(verb, "idle")) { /* so many seconds without news, up to now */
    for (long i = count; i > 0; i--) {
      int64_t then = now - i * SECOND;
      did(self, "poll", IMB_NOISE_POLL_EMPTY, IMB_OK, then, then + 20 * MS, NULL, NULL);
      did(self, "heartbeat", IMB_NOISE_HEARTBEAT, IMB_OK, then, then + MS, NULL, NULL);
      if (i % 60 == 0) did(self, "refresh_token", IMB_NOISE_AUX, IMB_OK, then, then + MS, NULL, NULL);
    }
  } else if (!strcmp(verb, "hit")) { /* a poll that brings so many messages */
    imb_trace trace = did(self, "poll", IMB_NOISE_POLL_HIT, IMB_OK, now - 20 * MS, now, NULL, url);
    while (count-- > 0 && emit(self, "message.created", "c1", IMB_NOISE_POLL_HIT, IMB_DELIVERY_LIVE, trace)) {}
  } else if (!strcmp(verb, "sync")) { /* so many messages of before, which a command asked for */
    imb_trace trace = parent ? *parent : (imb_trace){0};
    while (count-- > 0 && emit(self, "message.created", "c1", IMB_NOISE_EVENT, IMB_DELIVERY_BACKFILL, trace)) {}
  } else if (!strcmp(verb, "strange")) { /* so many operations and kinds of events that nobody declared, with odd names */
    char name[64], channel[64];
    for (; count > 0; count--) {
      snprintf(name, sizeof name, "evil%ld%p.created", count, (void *)self);
      snprintf(channel, sizeof channel, "\"} evil{%ld%p", count, (void *)self);
      did(self, channel, IMB_NOISE_AUX, IMB_OK, now - MS, now, NULL, NULL);
      emit(self, name, channel, IMB_NOISE_EVENT, IMB_DELIVERY_LIVE, (imb_trace){0});
      emit(self, "message.created", channel, IMB_NOISE_EVENT, IMB_DELIVERY_LIVE, (imb_trace){0});
    }
  } else if (!strcmp(verb, "fail")) { /* a poll that fails after so many milliseconds */
    did(self, "poll", IMB_NOISE_POLL_EMPTY, IMB_E_UNAVAILABLE, now - count * MS, now, NULL, url);
  } else if (!strcmp(verb, "call")) { /* one request of the provider's, so many milliseconds long */
    did(self, "send", IMB_NOISE_COMMAND, IMB_OK, now - count * MS, now, parent, url);
  } else if (!strcmp(verb, "log") && url) { /* a line that says this */
    imb_pair field = {STR("said"), text(url)};
    imb_log line = {.size = sizeof line, .level = IMB_LOG_WARN, .message = text(url), .fields = &field, .fields_len = 1};
    if (parent) line.trace = *parent;
    self->host->log(self->host->ctx, &line);
  } else if (!strcmp(verb, "ail") && url) { /* connected, and something is wrong */
    char detail[1024];
    snprintf(detail, sizeof detail, "{\"error\":{\"class\":\"unavailable\",\"code\":\"provider_unavailable\",\"num\":2102,"
             "\"retryable\":true,\"certain\":true,\"message\":\"the provider says %s\"}}", url);
    imb_report report = {.size = sizeof report, .state = IMB_STATE_DEGRADED, .reason = STR("slow"), .detail = text(detail)};
    self->host->report(self->host->ctx, &report);
  } else if (!strcmp(verb, "refuse")) { /* a provider's error whose text is the whole instruction */
    return IMB_E_FORBIDDEN;
  } else if (!strcmp(verb, "later") && self->executed++ == 0) { /* the first time it surely did not happen */
    return IMB_E_UNAVAILABLE;
  }
  return IMB_OK;
}

static imb_status create(const imb_create *args, imb_instance **out, imb_buf *err) {
  (void)err;
  if (!(*out = calloc(1, sizeof **out))) return IMB_E_UNAVAILABLE;
  (*out)->host = args->host;
  static const char key[] = "\"script\":\"";
  const char *found = args->config.len ? memmem(args->config.ptr, args->config.len, key, sizeof key - 1) : NULL;
  if (found) {
    found += sizeof key - 1;
    for (size_t i = 0; found[i] != '"' && i + 1 < sizeof (*out)->script; i++) (*out)->script[i] = found[i];
  }
  return IMB_OK;
}
static imb_status start(imb_instance *self) {
  imb_report report = {.size = sizeof report, .state = IMB_STATE_ONLINE, .self_id = STR("me"), .transport = STR("http")};
  return self->host->report(self->host->ctx, &report);
}
static imb_status grant(imb_instance *self, uint32_t events, uint64_t bytes) {
  (void)events, (void)bytes;
  if (!self->has_run) self->has_run = 1, run(self, self->script, NULL);
  return IMB_OK;
}
static imb_status settle(imb_instance *self, const imb_settle *settles, uint32_t n) { return (void)self, (void)settles, (void)n, IMB_OK; }
static imb_status execute(imb_instance *self, const imb_command *commands, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    const imb_command *command = (const imb_command *)((const uint8_t *)commands + i * (size_t)commands->size);
    char script[512] = {0};
    if (command->channel.len < sizeof script) memcpy(script, command->channel.ptr, command->channel.len);
    imb_status status = run(self, script, &command->trace);
    imb_completion done = {.size = sizeof done, .id = command->id, .status = status, .certain = 1};
    if (status == IMB_OK) done.native_id = (imb_str)STR("m1"), done.body = copy_of("{}", 2);
    else {
      char body[600];
      done.code = status == IMB_E_UNAVAILABLE ? (imb_str)STR("provider_unavailable") : (imb_str)STR("forbidden");
      const char *why = status == IMB_E_UNAVAILABLE ? "not now" : script;
      done.body = copy_of(body, (size_t)snprintf(body, sizeof body, "{\"message\":\"%s\"}", why));
    }
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
      "{\"describe\":1,\"provider\":\"c-poller\",\"adapter\":{\"name\":\"c-poller\",\"version\":\"1.0.0\"},"
      "\"model\":{\"major\":1,\"minor\":0},\"operations\":{\"send\":\"command\",\"poll\":\"poll_empty\","
      "\"heartbeat\":\"heartbeat\",\"refresh_token\":\"aux\"},"
      "\"capabilities\":{\"transport\":{\"inbound\":\"poll\",\"outbound\":\"http\",\"ack\":\"response\",\"poll_fallback\":false},"
      "\"events\":{\"message.created\":2},\"commands\":{\"message.send\":2},\"control\":{},"
      "\"segments\":{\"send\":{\"text\":2},\"receive\":{\"text\":2}},\"features\":{},\"channel_kinds\":{},"
      "\"limits\":{\"max_in_flight\":8,\"max_reads_in_flight\":1,\"max_payload_bytes\":null,\"idempotency_key_chars\":64,"
      "\"recall_max_age_s\":null,\"media_by\":[],\"rate\":null},"
      "\"guarantees\":{\"ordering\":\"channel\",\"inbound_ack\":\"each\",\"catch_up\":\"none\",\"sender_in_event\":true,"
      "\"provider_dedup\":false,\"verify_after_timeout\":false,\"message_time\":\"bridge\",\"self_echo\":false}},"
      "\"session\":{\"overlap\":true,\"ack\":\"each\"},\"config_schema\":{\"type\":\"object\",\"properties\":"
      "{\"script\":{\"type\":\"string\"}},\"additionalProperties\":false},\"config_examples\":[{}],\"state_version\":1}");
  return *out = text, IMB_OK;
}

static const imb_adapter table = {sizeof table, 0, create, start, grant, settle, execute, cancel, drain, stop, destroy, extension};
static const imb_entry entry = {
    IMB_MAGIC, sizeof entry, IMB_ABI_MAJOR, IMB_ABI_MINOR, 0, 0, STR("c-poller"), STR("1.0.0"), describe, &table};
__attribute__((section(IMB_DESCRIPTOR_SECTION), used)) static const imb_descriptor descriptor = {
    IMB_MAGIC, sizeof descriptor, IMB_ABI_MAJOR, IMB_ABI_MINOR, 0, 0, "c-poller", "1.0.0", "x86_64-unknown-linux-gnu", "cc", {0}};

const imb_entry *im_bridge_adapter_v1(uint32_t host_minor) { return (void)host_minor, &entry; }
