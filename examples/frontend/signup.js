// Signs people up from any page, without a library. Copy this file into your frontend.

const REPEATABLE = ["/problems/timeout", "/problems/unavailable", "/problems/overloaded"];
const ABOUT_THE_ADDRESS = ["/problems/address-taken", "/problems/unconfirmed"];
const TRIES = 4;
const UNREACHABLE = { type: "about:blank", detail: "The service can't be reached. Please try again." };

const seconds = (number) => new Promise((resolve) => setTimeout(resolve, number * 1000));

async function post(url, fields, key) {
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": key },
      body: JSON.stringify(fields),
    });
    return { response, body: await response.json() };
  } catch {
    return { body: UNREACHABLE }; // no answer, or none that this page may read: see CORS_ORIGINS
  }
}

// Returns { user } or { problem }. After a lost answer or one of REPEATABLE it tries again by itself.
// `key` makes that safe: the same key with the same fields signs up once. Other fields need another key.
export async function signUp(url, { email, name }, key = crypto.randomUUID()) {
  for (let attempt = 1; ; attempt += 1) {
    const { response, body } = await post(url, { email, name }, key);
    if (response?.ok) return { user: body };
    if (attempt === TRIES || (response && !REPEATABLE.includes(body.type))) return { problem: body };
    await seconds(Number(response?.headers.get("Retry-After")) || attempt);
  }
}

// What to say beside each field, by its name; "" is for the form as a whole.
export function errorsByField(problem) {
  if (problem.errors) return Object.fromEntries(problem.errors.map(({ loc, msg }) => [loc[1] ?? "", msg]));
  return { [ABOUT_THE_ADDRESS.includes(problem.type) ? "email" : ""]: problem.detail };
}

// Calls `show` with "pending", "sent" or "failed" once a second, until the email has left or ten seconds are over;
// with CONFIRMATION=link once, with "after_confirmation".
export async function follow(url, id, show) {
  for (let asked = 0; asked < 10; asked += 1) {
    const response = await fetch(`${url}/${id}`).catch(() => null);
    const state = response?.ok ? (await response.json()).welcome_email : "pending";
    show(state);
    if (state !== "pending") return;
    await seconds(1);
  }
}
