// The same for React: const { state, errors, submit } = useSignup("https://signup.your-domain.example/signup");
import { useCallback, useRef, useState } from "react";
import { errorsByField, follow, signUp } from "./signup.js";

// `state` is "idle", "sending", then what became of the welcome email: "pending", "sent", "failed" or, with
// CONFIRMATION=link, "after_confirmation": ask the person to open the link in their inbox.
// `errors` are sentences by field; errors[""] is about the form as a whole.
export function useSignup(url) {
  const [state, setState] = useState("idle");
  const [errors, setErrors] = useState({});
  const last = useRef({ fields: "", key: "" });

  const submit = useCallback(
    async ({ email, name }) => {
      const fields = JSON.stringify([email, name]);
      if (last.current.fields !== fields) last.current = { fields, key: crypto.randomUUID() };
      setState("sending");
      const { user, problem } = await signUp(url, { email, name }, last.current.key);
      setErrors(problem ? errorsByField(problem) : {});
      if (problem) return setState("idle");
      setState("pending");
      if (user.id) await follow(url, user.id, setState);
    },
    [url],
  );

  return { state, errors, submit };
}
