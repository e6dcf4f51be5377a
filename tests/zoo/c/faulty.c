/* The C adapter with faults on demand. The configuration names one: "hang:settle" never returns from settle,
 * "panic:settle" answers IMB_E_PANIC, "slow:settle" takes 30 ms, "minus:settle" answers IMB_E_INVALID. The command's name
 * says what else to do wrong. */
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#define TABLE(function) faulty_##function
#include "im_bridge_plugin.h"
static imb_status faulty_create(const imb_create *, imb_instance **, imb_buf *);
static imb_status faulty_start(imb_instance *);
static imb_status faulty_grant(imb_instance *, uint32_t, uint64_t);
static imb_status faulty_settle(imb_instance *, const imb_settle *, uint32_t);
static imb_status faulty_execute(imb_instance *, const imb_command *, uint32_t);
static imb_status faulty_cancel(imb_instance *, uint64_t);
static imb_status faulty_drain(imb_instance *, uint32_t);
static imb_status faulty_stop(imb_instance *, uint32_t);
static imb_status faulty_destroy(imb_instance *);
#include "adapter.c"

/* Beside each instance. Never freed: a thread may be left behind on purpose. */
typedef struct faulty {
  struct faulty *next; /* all of them, so that tools that look for leaks know it is meant */
  char fault[32];
  pthread_t threads[8];
  int thread_count;
  int stopping;
  int leave_thread; /* stop does not join: the thread calls on */
  uint32_t credit;
  uint8_t body[1024]; /* payload of the stream */
  size_t body_len;
  uint64_t settled_early; /* settles that came before emit returned */
  uint64_t inside;        /* token of the event that emit holds now */
} faulty;

static faulty *all;

static imb_status fault(const char *wanted, const char *call) {
  const char *colon = strchr(wanted, ':');
  if (!colon || strcmp(colon + 1, call) != 0) return IMB_OK;
  if (!strncmp(wanted, "hang", 4))
    for (;;) pause();
  if (!strncmp(wanted, "slow", 4)) usleep(30000);
  if (!strncmp(wanted, "panic", 5)) return IMB_E_PANIC;
  if (!strncmp(wanted, "minus", 5)) return IMB_E_INVALID;
  return IMB_OK;
}
#define FAULT(self, call)                                                  \
  do {                                                                     \
    imb_status answer = fault(((faulty *)(self)->user)->fault, call);      \
    if (answer != IMB_OK) return answer;                                   \
  } while (0)

#define WHY "{\"code\":\"invalid\",\"pointer\":\"/x\"}"
static imb_status faulty_create(const imb_create *args, imb_instance **out, imb_buf *err) {
  faulty *own = calloc(1, sizeof *own);
  size_t len = args->config.len < sizeof own->fault ? args->config.len : sizeof own->fault - 1;
  memcpy(own->fault, args->config.ptr, len);
  if (!strncmp(own->fault, "minus:create", 12)) *err = copy_of(WHY, sizeof WHY - 1);
  imb_status answer = fault(own->fault, "create");
  if (answer != IMB_OK) return free(own), answer;
  answer = create(args, out, err);
  if (answer == IMB_OK) (*out)->user = own, own->next = __atomic_exchange_n(&all, own, __ATOMIC_SEQ_CST);
  return answer;
}
static imb_status faulty_start(imb_instance *self) { FAULT(self, "start"); return start(self); }
static imb_status faulty_grant(imb_instance *self, uint32_t events, uint64_t bytes) {
  FAULT(self, "grant");
  __atomic_fetch_add(&((faulty *)self->user)->credit, events, __ATOMIC_SEQ_CST);
  return grant(self, events, bytes);
}
static imb_status faulty_settle(imb_instance *self, const imb_settle *settles, uint32_t n) {
  FAULT(self, "settle");
  faulty *own = self->user;
  for (uint32_t i = 0; i < n; i++)
    if (settles[i].token == __atomic_load_n(&own->inside, __ATOMIC_SEQ_CST))
      __atomic_fetch_add(&own->settled_early, 1, __ATOMIC_SEQ_CST);
  return settle(self, settles, n);
}
static imb_status faulty_cancel(imb_instance *self, uint64_t id) {
  FAULT(self, "cancel");
  return cancel(self, id);
}
static imb_status faulty_drain(imb_instance *self, uint32_t ms) { FAULT(self, "drain"); return drain(self, ms); }
static imb_status faulty_stop(imb_instance *self, uint32_t ms) {
  faulty *own = self->user;
  imb_status answer = fault(own->fault, "stop");
  if (answer != IMB_OK) return answer;
  __atomic_store_n(&own->stopping, 1, __ATOMIC_SEQ_CST);
  for (int i = 0; i < own->thread_count && !own->leave_thread; i++) pthread_join(own->threads[i], NULL);
  return stop(self, ms);
}
static imb_status faulty_destroy(imb_instance *self) {
  FAULT(self, "destroy");
  return destroy(self);
}

/* A payload whose release is not free: a slot of an arena. */
static char arena[4][64];
static int arena_in_use;
static void arena_release(void *owner, const uint8_t *ptr, size_t len) {
  (void)len;
  if (ptr == (uint8_t *)owner) __atomic_fetch_sub(&arena_in_use, 1, __ATOMIC_SEQ_CST);
}

static imb_status emit_one(imb_instance *self, imb_str kind, imb_buf payload) {
  faulty *own = self->user;
  imb_event event = {.size = sizeof event, .token = __atomic_add_fetch(&self->tokens, 1, __ATOMIC_SEQ_CST), .kind = kind};
  event.channel = (imb_str)STR("c1");
  event.native_id = (imb_str)STR("m1");
  event.payload = payload;
  __atomic_store_n(&own->inside, event.token, __ATOMIC_SEQ_CST);
  imb_status taken = self->host->emit(self->host->ctx, &event, 1);
  __atomic_store_n(&own->inside, 0, __ATOMIC_SEQ_CST);
  if (taken != 1 && payload.release) payload.release(payload.owner, payload.ptr, payload.len);
  return taken;
}

/* Emits without pause, by the host's answer, until it is stopped or nobody listens. */
static void *stream(void *argument) {
  imb_instance *self = argument;
  faulty *own = self->user;
  while (!__atomic_load_n(&own->stopping, __ATOMIC_SEQ_CST)) {
    imb_status taken = emit_one(self, (imb_str)STR("message.created"), copy_of(own->body, own->body_len));
    if (taken == IMB_E_CLOSED) return NULL;
    if (taken != 1) usleep(200);
  }
  return NULL;
}

/* Stays behind after stop: calls until it is told that nobody listens, and then some. */
static void *late(void *argument) {
  const imb_host *host = argument;
  imb_report report = {.size = sizeof report, .state = IMB_STATE_ONLINE};
  for (int closed = 0; closed < 50; usleep(1000)) closed += host->report(host->ctx, &report) == IMB_E_CLOSED;
  return NULL;
}

static void report_state(imb_instance *self, uint32_t state) {
  imb_report report = {.size = sizeof report, .state = state};
  self->host->report(self->host->ctx, &report);
}

static void complete_as(imb_instance *self, uint64_t id, imb_status status, const char *body) {
  imb_completion done = {.size = sizeof done, .id = id, .status = status, .certain = 1};
  done.body = copy_of(body, strlen(body));
  if (self->host->complete(self->host->ctx, &done, 1) != IMB_OK) give_back(done.body.owner, NULL, 0);
}

static int is(const imb_command *command, const char *name) {
  return command->name.len == strlen(name) && !memcmp(command->name.ptr, name, command->name.len);
}

static imb_status faulty_execute(imb_instance *self, const imb_command *commands, uint32_t n) {
  FAULT(self, "execute");
  faulty *own = self->user;
  const imb_command *command = commands; /* one at a time: the rest is "busy" */
  uint64_t id = command->id;
  if (is(command, "message.send")) return execute(self, commands, n);
  if (is(command, "twice")) complete_as(self, id, IMB_OK, "{}"), complete_as(self, id, IMB_OK, "{}");
  if (is(command, "unknown")) complete_as(self, id + 1000, IMB_OK, "{}"), complete_as(self, id, IMB_OK, "{}");
  if (is(command, "refused")) return IMB_E_FORBIDDEN;
  if (is(command, "panicked")) report_state(self, IMB_STATE_PANICKED);
  if (is(command, "greedy")) { /* one more than the whole credit */
    uint32_t credit = own->credit;
    imb_status taken = 1;
    for (uint32_t i = 0; i <= credit && taken == 1; i++)
      taken = emit_one(self, (imb_str)STR("message.created"), copy_of("{}", 2));
    complete_as(self, id, taken == 0 ? IMB_OK : IMB_E_INTERNAL, "{}");
  }
  if (is(command, "undeclared"))
    emit_one(self, (imb_str)STR("message.invented"), copy_of("{}", 2)), complete_as(self, id, IMB_OK, "{}");
  if (is(command, "bad text"))
    emit_one(self, (imb_str)STR("message.created\xff"), copy_of("{}", 2)), complete_as(self, id, IMB_OK, "{}");
  if (is(command, "short struct")) {
    imb_event event = {.size = 64};
    complete_as(self, id, self->host->emit(self->host->ctx, &event, 1) == IMB_E_INVALID ? IMB_OK : IMB_E_INTERNAL, "{}");
  }
  if (is(command, "arena")) {
    __atomic_fetch_add(&arena_in_use, 1, __ATOMIC_SEQ_CST);
    memcpy(arena[0], "{\"arena\":true}", 14);
    imb_buf buf = {(uint8_t *)arena[0], 14, arena[0], arena_release};
    emit_one(self, (imb_str)STR("message.created"), buf), complete_as(self, id, IMB_OK, "{}");
  }
  if (is(command, "arena left")) {
    char body[32];
    snprintf(body, sizeof body, "%d", __atomic_load_n(&arena_in_use, __ATOMIC_SEQ_CST));
    complete_as(self, id, IMB_OK, body);
  }
  if (is(command, "stream") || is(command, "late")) {
    int is_late = own->leave_thread = is(command, "late");
    own->body_len = command->body.len < sizeof own->body ? command->body.len : sizeof own->body;
    memcpy(own->body, command->body.ptr, own->body_len);
    void *argument = is_late ? (void *)self->host : (void *)self;
    if (own->thread_count < 8) pthread_create(&own->threads[own->thread_count++], NULL, is_late ? late : stream, argument);
    complete_as(self, id, IMB_OK, "{}");
  }
  if (is(command, "ping")) { /* for measurements: takes all, as adapters should */
    for (uint32_t i = 0; i < n; i++)
      complete_as(self, ((const imb_command *)((const uint8_t *)commands + i * (size_t)commands->size))->id, IMB_OK, "{}");
    return (imb_status)n;
  }
  if (is(command, "burst")) { /* for measurements: 64 events, and the nanoseconds that they took */
    struct timespec began, ended;
    char body[32];
    imb_event event = {.size = sizeof event, .kind = STR("message.created"), .channel = command->channel};
    event.native_id = (imb_str)STR("m1");
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (event.token = 1; event.token <= 64; event.token++) {
      event.payload = copy_of(command->body.ptr, command->body.len);
      if (self->host->emit(self->host->ctx, &event, 1) != 1) give_back(event.payload.owner, NULL, 0);
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    long ns = (ended.tv_sec - began.tv_sec) * 1000000000L + ended.tv_nsec - began.tv_nsec;
    snprintf(body, sizeof body, "%ld", ns);
    complete_as(self, id, IMB_OK, body);
  }
  if (is(command, "settled early")) {
    char body[32];
    snprintf(body, sizeof body, "%llu", (unsigned long long)__atomic_load_n(&own->settled_early, __ATOMIC_SEQ_CST));
    complete_as(self, id, IMB_OK, body);
  }
  return 1; /* "silent" is taken and never completed */
}
