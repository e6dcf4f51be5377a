// The published package has modules whose imports lack their endings, which bundlers add and Node does not: add them.
export async function resolve(specifier, context, next) {
  const isOwn = context.parentURL?.includes("/wukongimjssdk/lib/") && specifier.startsWith(".");
  const file = /^\.\/?$/.test(specifier) ? "./index" : specifier;
  return next(isOwn ? `${file}.js` : specifier, context);
}

export async function load(url, context, next) {
  const isOwn = url.includes("/wukongimjssdk/lib/");
  return next(url, isOwn ? { ...context, format: "module" } : context);
}
