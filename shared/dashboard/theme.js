// Before anything is painted, so that a dark page never flashes white.
(() => {
  const read = () => {
    try {
      return localStorage.getItem("rowlift-theme") ?? "auto";
    } catch {
      return "auto"; // storage is blocked: the system's theme
    }
  };
  const show = (theme) => {
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  show(read());
  document.addEventListener("DOMContentLoaded", () => {
    const choice = document.getElementById("theme");
    choice.value = read();
    choice.addEventListener("change", () => {
      show(choice.value);
      try {
        localStorage.setItem("rowlift-theme", choice.value);
      } catch {
        // the choice lasts as long as the page
      }
    });
  });
})();
