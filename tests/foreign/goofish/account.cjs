// One account of goofish-client in a process of its own: the client shares its signing token between all instances of a
// process. Told what to do by its parent, one call at a time; says what it hears.
//
//   node account.cjs <folder with node_modules> <uid> <http> <ws>

const { createRequire } = require('node:module');

const [folder, uid, http, ws] = process.argv.slice(2);
const { Goofish } = createRequire(`${folder}/`)('goofish-client');
// The client prints every text that it sends.
console.log = () => {};

const make = (cookie, im = {}) =>
  new Goofish({
    cookie,
    level: 0,
    mtop: { baseURL: http },
    im: { wsUrl: ws, heartbeatInterval: 200, reconnectInterval: 200, requestTimeout: 2000, ...im },
  });

let client = make(`unb=${uid}; cookie2=synthetic`);
// After the parent's end there is nobody to tell.
const tell = (what) => process.connected && process.send(what);
const heard = (what, value) => tell({ heard: what, value });
const plain = (value) =>
  JSON.parse(JSON.stringify(value, (_, it) => (typeof it === 'bigint' ? Number(it) : it)) ?? 'null');

function listen() {
  client.api.im.message.onFormattedMessage((message) => heard('message', plain(message)));
  client.api.im.message.onSyncPush((push) => heard('sync', plain(push)));
  client.wsClientIm.on('message', (frame) => heard('frame', plain(frame)));
  for (const event of ['open', 'close', 'reconnect', 'heartbeat']) {
    client.wsClientIm.on(event, () => heard(event, null));
  }
}

const calls = {
  token: () => client.api.mtop.im.getLoginToken(),
  connect: () => client.wsClientIm.connect(),
  listen,
  register: (options) => client.api.im.auth.register(options),
  list: (options) => client.api.im.conversation.listNewestPagination(options),
  create: (options) => client.api.im.conversation.createItemConversation(options),
  text: (options) => client.api.im.message.sendTextMessage(options),
  send: (options) => client.api.im.message.sendByReceiverScope(options),
  raw: (frame) => client.wsClientIm.send(frame),
  disconnect: () => client.wsClientIm.disconnect(),
  // Another instance in this process: what it does to the first one is known, and a test of the server's signatures.
  other: async (other) => (await make(`unb=${other}`).api.mtop.im.getLoginToken()).ret,
  remake: (im) => {
    client = make(`unb=${uid}`, im);
  },
};

process.on('message', async ({ id, call, argument }) => {
  try {
    tell({ id, value: plain(await calls[call](argument)) });
  } catch (error) {
    tell({ id, error: String(error?.message ?? error) });
  }
});
process.on('disconnect', () => process.exit(0));
