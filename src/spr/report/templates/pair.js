// A box and its words are lit together; a candidate that is pointed at or focused is the one in the picture.
const caption = document.querySelector(".caption");
const light = (key, on) => {
  for (const one of document.querySelectorAll(`[data-box="${key}"]`)) {
    one.classList.toggle("lit", on);
    const title = one.querySelector("title");
    if (title) caption.textContent = on ? title.textContent : "";
  }
};
for (const [event, on] of [["pointerover", true], ["pointerout", false], ["focusin", true], ["focusout", false]]) {
  document.addEventListener(event, ({ target }) => {
    const holder = on && target.closest(".card, tr[data-layer]");
    if (holder) document.getElementById(`pick-${holder.dataset.layer}`).checked = true;
    const box = target.closest("[data-box]");
    if (box) light(box.dataset.box, on);
  });
}
