// A form that uses the hook, without JSX.
import { createElement as h } from "react";
import { createRoot } from "react-dom/client";
import { useSignup } from "./useSignup.js";

function Form({ url }) {
  const { state, errors, submit } = useSignup(url);
  const send = (event) => {
    event.preventDefault();
    submit(Object.fromEntries(new FormData(event.target)));
  };
  return h(
    "form",
    { onSubmit: send },
    h("label", null, "Email address", h("input", { name: "email" })),
    h("label", null, "Name", h("input", { name: "name" })),
    h("p", { role: "alert" }, Object.values(errors).join(" ")),
    h("p", { role: "status" }, state),
    h("button", { disabled: state === "sending" }, "Sign up"),
  );
}

const root = document.getElementById("root");
createRoot(root).render(h(Form, { url: root.dataset.url }));
