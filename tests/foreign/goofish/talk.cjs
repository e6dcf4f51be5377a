// goofish-client 1.4.0 against a server that plays the provider: two accounts talk, and the refusals are what they must be.
//
//   node talk.cjs <folder with node_modules> <http> <ws>
//
// Needs the server's /_sim/ (tests/simulators/README.md). Prints what was checked; ends with 1 at the first thing that is not so.

const assert = require('node:assert/strict');
const { fork } = require('node:child_process');
const path = require('node:path');

const [folder, http, ws] = process.argv.slice(2);
const WITHIN_MS = 20_000;

async function eventually(what, look) {
  const end = Date.now() + WITHIN_MS;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    assert.ok(Date.now() < end, `${what}: not in time`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

async function sim(method, what, body) {
  const answer = await fetch(`${http}/_sim/${what}`, {
    method,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const said = await answer.json();
  assert.equal(answer.status, 200, `${what}: ${JSON.stringify(said)}`);
  return said;
}
const act = (what, body = {}) => sim('POST', what, body);
const record = async (kind) => (await sim('GET', `record?kinds=${kind}&limit=10000`)).entries;

class Account {
  constructor(uid) {
    this.uid = uid;
    this.heard = { message: [], sync: [], frame: [], open: [], close: [], reconnect: [], heartbeat: [] };
    this.waiting = new Map();
    this.child = fork(path.join(__dirname, 'account.cjs'), [folder, uid, http, ws]);
    this.child.on('message', ({ id, heard, value, error }) => {
      if (heard) return this.heard[heard].push(value);
      const [done, failed] = this.waiting.get(id);
      if (error === undefined) done(value);
      else failed(new Error(error));
    });
  }
  call(call, argument) {
    const id = this.waiting.size + 1;
    const answer = new Promise((done, failed) => this.waiting.set(id, [done, failed]));
    this.child.send({ id, call, argument });
    return answer;
  }
  async online() {
    const { ret, data } = await this.call('token');
    assert.deepEqual(ret, ['SUCCESS::调用成功']);
    assert.equal(data.accessTokenExpiredTime, '86400000');
    await this.call('connect');
    await this.call('listen');
    return this.call('register', { token: data.accessToken });
  }
  texts() {
    return this.heard.message.filter((it) => it.text !== undefined).map((it) => it.text);
  }
}

const a = new Account('1000000001');
const b = new Account('2000000002');
const full = (uid) => `${uid}@goofish`;
const both = [full(a.uid), full(b.uid)];
const done = (what) => console.log(`ok ${what}`);

async function main() {
  const [first] = await Promise.all([a.online(), b.online()]);
  assert.equal(first.headers['reg-uid'], full(a.uid));
  const calls = await record('mtop');
  const rets = calls.filter((it) => it.uid === a.uid).map((it) => it.ret.split('::')[0]);
  assert.deepEqual(rets, ['FAIL_SYS_TOKEN_EMPTY', 'SUCCESS']);
  assert.equal((await record('session')).every((it) => it.missing.length === 0), true);
  done('token with cookie bootstrap, handshake without cookies, registration and sync');

  const hint = await eventually('the first package', () =>
    a.heard.frame.find((it) => it.lwp === '/s/vulcan'));
  assert.equal(hint.body.syncExtensionModel.reconnectType, 1);
  done('a package of hints after registration');

  const wanted = { selfUserId: a.uid, peerUserId: b.uid, itemId: '500000000005' };
  const made = await a.call('create', wanted);
  const cid = made.body.singleChatConversation.cid;
  const again = await b.call('create', { ...wanted, selfUserId: b.uid, peerUserId: a.uid });
  assert.equal(again.body.singleChatConversation.cid, cid);
  const other = await a.call('create', { ...wanted, itemId: '500000000006' });
  assert.notEqual(other.body.singleChatConversation.cid, cid);
  done('one conversation for two people and an item');

  const texts = Array.from({ length: 50 }, (_, n) => `你好 ${n}`);
  const ids = [];
  for (const text of texts) {
    const answer = await a.call('text', {
      conversationId: cid, conversationType: 1, text, receivers: both,
    });
    ids.push(answer.body.messageId);
  }
  for (const account of [b, a]) {
    await eventually('all texts', () => account.texts().length >= texts.length);
    assert.deepEqual(account.texts(), texts);
    const told = account.heard.message.filter((it) => it.text !== undefined);
    assert.deepEqual(told.map((it) => it.messageId), ids);
    assert.deepEqual(told[0].senderId, { 1: full(a.uid) });
    assert.equal(told[0].receiverId, cid);
    assert.equal(typeof told[0].timestamp, 'number');
  }
  done('50 texts: in order, once, to the peer and as echo, with the ids of the answers');

  const picture = { height: 600, type: 0, url: 'https://img.example.invalid/a.png', width: 800 };
  const inner = { contentType: 2, image: { pics: [picture] } };
  const custom = { type: 1, data: Buffer.from(JSON.stringify(inner)).toString('base64') };
  await b.call('send', {
    message: { uuid: '-17000000000001', cid, conversationType: 1, content: { contentType: 101, custom } },
    receivers: { actualReceivers: [full(a.uid)] },
  });
  const image = await eventually('the image', () =>
    a.heard.message.find((it) => it.content?.contentType === 2));
  assert.deepEqual(image.content, { atUsers: [], ...inner });
  assert.equal(image.text, '[图片]');
  done('an image with the smallest body that clients send');

  const pushes = (await record('push')).filter((it) => it.lwp === '/s/sync');
  const acks = await eventually('all acknowledgements', async () => {
    const acks = await record('ack');
    return acks.length >= pushes.length && acks;
  });
  assert.ok(acks.every((it) => it.known && it.headers === 'all'));
  assert.deepEqual(new Set(acks.map((it) => it.push)), new Set(pushes.map((it) => it.push)));
  done(`${pushes.length} pushes acknowledged with all headers`);

  const list = await a.call('list', { startTimeStamp: 9007199254740991, limitNum: 20 });
  const [newest] = list.body.userConvs;
  assert.equal(newest.singleChatUserConversation.singleChatConversation.cid, cid);
  assert.equal(newest.singleChatUserConversation.lastMessage.message.messageId, image.messageId);
  const request = (account, lwp, body) => account.call('raw', { lwp, body });
  let cursor = 9007199254740991;
  const history = [];
  for (let more = 1; more === 1; ) {
    const { body } = await request(b, '/r/MessageManager/listUserMessages', [cid, false, cursor, 20, false]);
    history.push(...body.userMessageModels.map((it) => it.message.messageId));
    ({ hasMore: more, nextCursor: cursor } = body);
  }
  assert.deepEqual(history, [image.messageId, ...ids.toReversed()]);
  done('list and history by pages, newest first, each message once');

  const seen = a.heard.sync.length;
  await request(b, '/r/MessageStatus/read', [[ids[49]]]);
  await eventually('the receipt', () => a.heard.sync.length > seen);
  await request(b, '/r/Conversation/clearRedPoint', [[{ cid, messageId: ids[49] }]]);
  await request(a, '/r/MessageManager/recallMessage', [ids[49]]);
  await assert.rejects(request(b, '/r/MessageManager/recallMessage', [ids[48]]), /请求失败: 400 .*only who said it/);
  done('receipt, cleared mark, recall of one’s own');

  const say = (text) =>
    a.call('text', { conversationId: cid, conversationType: 1, text, receivers: both });
  const fault = (of, how) => act('fault', { on: 'request', of, ...how });
  const send = '/r/MessageSend/sendByReceiverScope';
  const blocked = { reason: 'blocked', moreInfo: 'CSI_FORBID||blocked' };
  await fault(send, { do: 'refuse', code: 200, body: blocked });
  assert.deepEqual((await say('refused')).body, blocked);
  await fault(send, { do: 'refuse', code: 500 });
  await assert.rejects(say('refused'), /请求失败: 500/);
  await fault(send, { do: 'withhold' });
  await assert.rejects(say('effected'), /请求超时/);
  await eventually('the message whose answer was lost', () => b.texts().includes('effected'));
  assert.ok(!b.texts().includes('refused'));
  done('refusals, and an answer that is lost while the message is not');

  const heads = (what) => act('fault', { on: 'mtop', do: 'ret', code: what });
  for (const code of ['FAIL_SYS_USER_VALIDATE', 'FAIL_SYS_TRAFFIC_LIMIT', 'FAIL_SYS_TOKEN_EXOIRED', 'FAIL_SYS_ILLEGAL_ACCESS']) {
    await heads(code);
    const answer = await b.call('token');
    assert.equal(answer.ret[0].split('::')[0], code);
    assert.equal(code !== 'FAIL_SYS_USER_VALIDATE', answer.data.url === undefined);
  }
  assert.deepEqual((await b.call('token')).ret, ['SUCCESS::调用成功']);
  await act('expire', { what: 'signing', uid: b.uid });
  assert.match((await b.call('token')).ret[0], /^FAIL_SYS_TOKEN_EXOIRED/);
  assert.match((await b.call('token')).ret[0], /^SUCCESS/);
  done('failures of mtop, and the call after an expired signing token');

  await assert.rejects(b.call('register', { token: 'nobody’s' }), /请求失败: 401 .*invalid token/);
  await a.call('disconnect');
  await eventually('the end', () => a.heard.close.length > 0);
  await a.call('remake', { appKey: '00000000000000000000000000000000' });
  const bound = await a.call('token');
  await a.call('connect');
  await assert.rejects(a.call('register', { token: bound.data.accessToken }), /401 .*device id or appkey is not equal/);
  await assert.rejects(say('too early'), /请求失败: 401 .*not registered/);
  done('a token is bound to app key and device; nothing before registration');

  await eventually('heartbeats', () => b.heard.heartbeat.length >= 3);
  await act('kick', { uid: b.uid, how: 'drop' });
  await eventually('the reconnect', () => b.heard.reconnect.length > 0);
  const sessions = (await sim('GET', 'state')).sessions;
  assert.equal(sessions.filter((it) => it.uid === b.uid).length, 0);
  await act('say', { from: a.uid, cid, text: 'while it was away' });
  const back = await b.call('token');
  await b.call('register', { token: back.data.accessToken });
  await act('say', { from: a.uid, cid, text: 'when it was back' });
  await eventually('the new message', () => b.texts().includes('when it was back'));
  assert.ok(!b.texts().includes('while it was away'));
  done('after a reconnect nothing comes until it registers, and then what is new');

  await act('say', { from: a.uid, cid, text: 'together', times: 3, together: true });
  await eventually('three in one push', () => b.texts().includes('together #3'));
  assert.deepEqual(b.texts().slice(-3), ['together #1', 'together #2', 'together #3']);
  done('several items in one push');

  await b.call('other', '2000000003');
  assert.match((await b.call('token')).ret[0], /^FAIL_SYS_(ILLEGAL_ACCESS|TOKEN_ILLEGAL)/);
  done('a signature by another token is refused');
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
