// Sends a click for each press of the button, and shows the count that comes back.
const form = document.querySelector("#click");
const count = document.querySelector("#count");
const said = document.querySelector("#said");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const answer = await fetch(form.action, { method: "POST" });
    const told = await answer.json();
    said.classList.toggle("wrong", !answer.ok);
    if (answer.ok) {
      // Answers may overtake each other, and the count never goes down.
      count.textContent = Math.max(Number(count.textContent), told.click_count);
      said.textContent = `Click ${told.click_count} is counted`;
    } else {
      said.textContent = told.error;
    }
  } catch {
    said.classList.add("wrong");
    said.textContent = "not counted: the page does not answer";
  }
});
