"use strict";
/* Brings the page to life. */

startChosen();
startOutcomes();
startEvents();
Promise.all([startCurves(), startDepth()]).then(() => {
  performance.mark("drawn");
  document.documentElement.dataset.drawn = "yes";
});

for (const button of document.querySelectorAll(".copy")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}

/* A link to a run opens it. */
function openLinked() {
  const number = /^#run-(\d+)$/.exec(location.hash)?.[1];
  if (number && report.runs[number]) openRun(number);
}
addEventListener("hashchange", openLinked);
openLinked();
