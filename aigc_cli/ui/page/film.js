
(() => {
  const film = document.querySelector("[data-film]");
  const controls = document.querySelector("[data-controls]");
  if (!film || !controls) return;
  const frames = [...film.children];
  const slider = controls.querySelector("input");
  const button = controls.querySelector("button");
  const cursors = document.querySelectorAll("[data-cursor]");
  let playing = 0;

  const show = (index) => {
    frames.forEach((frame, other) => frame.classList.toggle("on", other === index));
    slider.value = index;
    slider.setAttribute("aria-valuetext", frames[index].dataset.step);
    for (const cursor of cursors) {
      cursor.setAttribute("transform", `translate(${frames[index].dataset.x} 0)`);
      cursor.classList.add("on");
    }
  };
  const stop = () => {
    clearInterval(playing);
    playing = 0;
    button.textContent = "Play";
  };
  const next = () => {
    const index = Number(slider.value) + 1;
    show(index);
    if (index === frames.length - 1) stop();
  };

  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  button.addEventListener("click", () => {
    if (playing) return stop();
    if (Number(slider.value) === frames.length - 1) show(0);
    button.textContent = "Stop";
    playing = setInterval(next, 300);
  });
  film.classList.add("one");
  film.removeAttribute("tabindex");
  controls.hidden = false;
  show(frames.length - 1);
})();
