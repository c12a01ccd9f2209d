// Adds sliders; what they show is on the page without them too. (The page is XML: no less-than sign, no ampersand.)
'use strict';

function stepper(last, start, label, show) {
  const box = document.createElement('div');
  const input = document.createElement('input');
  const output = document.createElement('output');
  box.className = 'stepper';
  Object.assign(input, { type: 'range', min: 0, max: last, value: start });
  input.setAttribute('aria-label', label);
  input.addEventListener('input', update);
  box.append(input, output);
  function update() {
    output.textContent = show(Number(input.value));
  }
  return { box, update };
}

// Sheets of a run: one at a time, the last one first.
for (const steps of document.querySelectorAll('.steps')) {
  const figures = [...steps.querySelectorAll('figure')];
  const last = figures.length - 1;
  if (!(last > 0)) continue;
  const { box, update } = stepper(last, last, 'step of the run', (shown) => {
    figures.forEach((figure, i) => figure.classList.toggle('shown', i === shown));
    return `${shown + 1} of ${figures.length}`;
  });
  steps.classList.add('one');
  steps.before(box);
  update();
}

// A traversal: the pictures of its rows, large, at the slider's value.
for (const latent of document.querySelectorAll('.traversal')) {
  const { steps, low, high, name } = latent.dataset;
  const rows = [...latent.querySelectorAll('.row img')];
  const last = Number(steps) - 1;
  const large = rows.map((row) => {
    const figure = document.createElement('figure');
    const picture = document.createElement('div');
    figure.className = 'large';
    picture.setAttribute('role', 'img');
    picture.setAttribute('aria-label', row.alt);
    picture.style.backgroundImage = `url(${row.src})`;
    picture.style.backgroundSize = `${100 * steps}% 100%`;
    figure.append(row.parentElement.querySelector('span').cloneNode(true), picture);
    return { figure, picture };
  });
  const { box, update } = stepper(last, Math.round(last / 2), `value of ${name}`, (shown) => {
    large.forEach(({ picture }) => { picture.style.backgroundPosition = `${100 * shown / last}% 0`; });
    return (Number(low) + (high - low) * shown / last).toFixed(2);
  });
  box.prepend(...large.map(({ figure }) => figure));
  latent.querySelector('.row').before(box);
  update();
}
