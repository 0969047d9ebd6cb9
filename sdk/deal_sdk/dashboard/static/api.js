// The JSON API: one place for the CSRF token, and for what a refusal says.

const ROOT = "/api/v1";
let csrfToken = null;
let onSignedOut = () => {};

/** A refusal, with its stable code. */
export class Problem extends Error {
  constructor(document) {
    super(document.title);
    this.code = document.code;
    this.status = document.status;
  }
}

export const whenSignedOut = (action) => { onSignedOut = action; };

export async function call(method, path, body) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (method !== "GET" && csrfToken) headers["x-csrf-token"] = csrfToken;
  let response;
  try {
    response = await fetch(ROOT + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem({ title: "The server does not answer.", code: "no_answer", status: 0 });
  }
  const document = await response.json().catch(() => ({ title: `The server answered ${response.status}.`, code: "malformed", status: response.status }));
  if (response.ok) return document;
  const problem = new Problem(document);
  if (problem.code === "not_signed_in" && path !== "/session") onSignedOut();
  throw problem;
}

export const get = (path, query = {}) => {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given).toString();
  return call("GET", text ? `${path}?${text}` : path);
};

export function keepSession(session) {
  csrfToken = session ? session.csrf_token : null;
}
