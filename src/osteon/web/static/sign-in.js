// Signs in with the key that was typed, or that follows `#key=` in a link (a browser never sends that part).
const form = document.getElementById("sign-in");
const field = document.getElementById("key");
const fault = document.getElementById("fault");
const button = form.querySelector("button");

async function signIn() {
  fault.textContent = "";
  button.disabled = true;
  try {
    const answer = await fetch("/api/v1/session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ key: field.value.trim() }),
    });
    if (answer.ok) {
      location.replace("/");
      return;
    }
    fault.textContent = answer.status === 429 ? form.dataset.often : form.dataset.wrong;
    field.select();
  } catch {
    fault.textContent = form.dataset.unreachable;
  } finally {
    button.disabled = false;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  signIn();
});

const given = new URLSearchParams(location.hash.slice(1)).get("key");
if (given) {
  history.replaceState(null, "", location.pathname + location.search);
  field.value = given;
  signIn();
}
