"use strict";
// The theme's switch, and the two pictures with a divider between them. Without this script everything else is there.

(function theme() {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const tell = () => button.setAttribute("aria-pressed", String(dark()));
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try {
      localStorage.setItem("ccdeploy-theme", root.dataset.theme);
    } catch { /* no storage: it holds until the page is left */ }
    tell();
  });
  system.addEventListener("change", tell);
  button.hidden = false;
  tell();
})();

(function compare() {
  const box = document.getElementById("compare");
  if (!box) return;
  const find = (id) => document.getElementById(id);
  const stage = find("stage"), divider = find("divider"), opacity = find("opacity");
  const galleries = [...document.querySelectorAll(".gallery")];
  const sides = ["left", "right"].map((name) => ({
    name,
    select: find(name),
    tag: find("tag-" + name),
    base: find("side-" + name).querySelector(".base"),
    layer: find("side-" + name).querySelector(".layer"),
  }));
  let views = [];

  function choose(side) {
    const view = views.find((image) => image.dataset.key === side.select.value) || views[0];
    const photo = views.find((image) => image.dataset.kind === "photo");
    side.base.src = photo.src;
    side.base.alt = view === photo ? side.name + ": " + view.alt : "";
    side.layer.src = view.src;
    side.layer.alt = view === photo ? "" : side.name + ": " + view.alt;
    side.layer.dataset.kind = view.dataset.kind;
    side.tag.textContent = view.dataset.label;
    find("captions").textContent = sides
      .map((one) => views.find((image) => image.dataset.key === one.select.value))
      .filter((one) => one && one.dataset.caption)
      .map((one) => one.dataset.label + ": " + one.dataset.caption + ".")
      .join(" ");
    divide();
  }

  function divide() {
    const share = Number(divider.value);
    stage.style.setProperty("--split", share + "%");
    divider.setAttribute(
      "aria-valuetext",
      `${Math.round(share)} % ${sides[0].tag.textContent}, ${Math.round(100 - share)} % ${sides[1].tag.textContent}`,
    );
  }

  function fade() {
    stage.style.setProperty("--labels", opacity.value / 100);
    find("opacity-value").textContent = opacity.value + " %";
  }

  function show(number) {
    galleries.forEach((gallery, index) => { gallery.hidden = index !== number; });
    const gallery = galleries[number];
    stage.style.aspectRatio = gallery.dataset.width + " / " + gallery.dataset.height;
    views = [...gallery.querySelectorAll("img")];
    sides.forEach((side, place) => {
      const before = side.select.value;
      side.select.replaceChildren(...views.map((image) => new Option(image.dataset.label, image.dataset.key)));
      const labels = views.filter((image) => image.dataset.kind === "labels" && image.dataset.key !== "truth");
      const first = place === 0 ? views[0] : labels[labels.length - 1] || views[0];
      const kept = views.some((image) => image.dataset.key === before);
      side.select.value = kept ? before : first.dataset.key;
    });
    sides.forEach(choose);
  }

  sides.forEach((side) => side.select.addEventListener("change", () => choose(side)));
  divider.addEventListener("input", divide);
  opacity.addEventListener("input", fade);
  box.querySelectorAll("input[name=picture]").forEach((radio, index) => {
    radio.nextElementSibling.src = galleries[index].querySelector("img").src;
    radio.addEventListener("change", () => show(index));
  });
  box.hidden = false;
  fade();
  const checked = box.querySelector("input[name=picture]:checked"); // browsers keep the choice over a reload
  show(checked ? Number(checked.value) : 0);
})();
