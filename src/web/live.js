// Refreshes every element marked data-live when the server says that something changed.
// Pages are complete without this script; forms being typed in are never touched. What it asks for
// says so, and does not count as somebody being there: a session that is left alone ends.
const controls = "a[href], button, input, select, textarea";
const refresh = async () => {
  const answer = await fetch(location.href, { headers: { Accept: "text/html", "X-Tutti-Refresh": "1" } });
  if (!answer.ok || answer.redirected) return location.reload();
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(old.id);
    if (now && now.innerHTML !== old.innerHTML) {
      const focused = [...old.querySelectorAll(controls)].indexOf(document.activeElement);
      old.innerHTML = now.innerHTML;
      // Whoever goes by keyboard stays where they were.
      if (focused >= 0) old.querySelectorAll(controls)[focused]?.focus({ preventScroll: true });
      if (!("quiet" in old.dataset)) {
        old.classList.remove("fresh");
        void old.offsetWidth;
        old.classList.add("fresh");
      }
    }
  }
};
if (document.querySelector("[data-live]")) {
  const table = document.querySelector("[data-table]")?.dataset.table;
  const log = document.querySelector("[data-log]") ? "?log=1" : "";
  new EventSource("/events" + (table ? "?table=" + encodeURIComponent(table) : log)).onmessage = refresh;
  setInterval(refresh, 10000);
}
