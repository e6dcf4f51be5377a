// Runs the public JavaScript SDK against a server and says what it saw, a JSON object a line.
//
//   node peer.mjs <folder with node_modules> <ws://address> <uid> <token>
//
// Orders come the same way: {"send":{"to":"bob","type":1,"text":"hi"}}. Ends with its input.
import { createRequire, register } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [folder, address, uid, token] = process.argv.slice(2);
const say = (it) => console.log(JSON.stringify(it, (_, value) => (typeof value === "bigint" ? `${value}` : value)));
// The package logs to the console; that is not for the test to read.
const { log } = console;
console.log = (text, ...more) => (more.length || !`${text}`.startsWith("{") ? undefined : log(text));

register("./modules.mjs", import.meta.url);
const require = createRequire(pathToFileURL(`${folder}/`));
globalThis.WebSocket ??= require("ws");
globalThis.window ??= globalThis;
const { default: SDK } = await import(pathToFileURL(require.resolve("wukongimjssdk")));
const sdk = SDK.shared();
Object.assign(sdk.config, { addr: address, uid, token, deviceFlag: 1 });
say({ version: sdk.config.protoVersion });
sdk.connectManager.addConnectStatusListener((status, reason) => say({ status, reason }));
sdk.chatManager.addMessageListener((message) => {
  say({
    message: {
      id: `${message.messageID}`, seq: message.messageSeq, number: message.clientMsgNo, from: message.fromUID,
      channel: message.channel.channelID, type: message.channel.channelType, text: message.content?.text,
      red_dot: message.header.reddot,
    },
  });
});
sdk.chatManager.addCMDListener((message) => say({ command: message.content?.cmd }));
sdk.chatManager.addMessageStatusListener((ack) => {
  say({ sent: { id: `${ack.messageID}`, seq: ack.messageSeq, client_seq: ack.clientSeq, reason: ack.reasonCode } });
});
sdk.connect();
for await (const line of createInterface({ input: process.stdin })) {
  const { send } = JSON.parse(line);
  const content = sdk.newMessageText(send.text);
  const message = await sdk.chatManager.send(content, sdk.newChannel(send.to, send.type));
  say({ sending: { client_seq: message.clientSeq, number: message.clientMsgNo } });
}
process.exit(0);
