// What a generated client knows about this service, without a single cast.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: [node: string, script: string, baseUrl: string, email: string] };

const [, , baseUrl, email] = process.argv;
const client = createClient<paths>({ baseUrl });

type Reason = components["schemas"]["Reason"];

async function signUp(body: components["schemas"]["SignupRequest"]) {
  const { data, error, response } = await client.POST("/signup", { body });
  if (data && "id" in data) {
    const id: string = data.id;
    const state: "pending" = data.welcome_email;
    return { id, state };
  }
  if (data) {
    const message: string = data.message;
    return { trapped: message };
  }
  switch (error.type) {
    case "/problems/address-taken": {
      const title: string = error.title;
      return { taken: title };
    }
    case "/problems/invalid": {
      const reasons: Reason[] = (error.errors ?? []).map((each) => each.type);
      return { reasons };
    }
    case "/problems/rate-limited":
      return { retryAfter: Number(response.headers.get("Retry-After")) };
    // @ts-expect-error  No POST /signup is answered with this.
    case "/problems/unauthorized":
    default:
      return { other: error.type };
  }
}

const first = await signUp({ email, name: "Ada" });
const trapped = await signUp({ email, website: "https://evil.example" });
const state = first.id ? await client.GET("/signup/{signup_id}", { params: { path: { signup_id: first.id } } }) : null;
const sent: "pending" | "sent" | "failed" | undefined = state?.data?.welcome_email;
console.log(
  JSON.stringify([first, sent, trapped, await signUp({ email }), await signUp({ email: "nobody" }), await signUp({ email })]),
);
