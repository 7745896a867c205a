// Making elements without writing HTML into strings: what users and servers say is always text.

export const byId = (id) => document.getElementById(id);

/** make('p', {class: 'x', onclick: f}, 'text', child …); attributes that are null or false are left out. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An image of a blob; its address is given back once it is shown, or cannot be. */
export function showBlob(image, blob) {
  const address = URL.createObjectURL(blob);
  return new Promise((done) => {
    const over = (shown) => {
      URL.revokeObjectURL(address);
      done(shown);
    };
    image.onload = () => over(true);
    image.onerror = () => over(false);
    image.src = address;
  });
}

/** A description out of the document, without the marks of Markdown. */
export const prose = (text) => (text ?? '').replaceAll('`', '');

/** `output_format` as people write it. */
export const words = (name) => {
  const text = name.replaceAll('_', ' ');
  return text[0].toUpperCase() + text.slice(1);
};
