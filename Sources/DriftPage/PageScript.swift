/// The page's only script: tables sorted by a click on a heading. Everything else works without it.
enum PageScript {
  /// Numbers sort by the exact value that a cell carries, the rest by its text; a second click turns the order round.
  static let text = """
    for (const table of document.querySelectorAll('table.sortable')) {
      const body = table.tBodies[0];
      table.querySelectorAll('thead th').forEach((head, column) => {
        const button = document.createElement('button');
        button.type = 'button';
        button.append(...head.childNodes);
        head.append(button);
        button.addEventListener('click', () => {
          const falling = head.getAttribute('aria-sort') === 'ascending';
          for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
          head.setAttribute('aria-sort', falling ? 'descending' : 'ascending');
          const key = (row) => {
            const cell = row.cells[column];
            return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
          };
          const compare = (a, b) => typeof a === 'number' && typeof b === 'number'
            ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
          const rows = Array.from(body.rows, (row) => [key(row), row]);
          rows.sort((a, b) => (falling ? -1 : 1) * compare(a[0], b[0]));
          body.append(...rows.map((row) => row[1]));
        });
      });
    }
    """

  /// SHA-256 of the text: with it in the policy no other script runs, whatever stands in the document.
  static let hash = "R2PnPc5V9RGTGioiy6g6BCYc+Uk6FDDOhnomIn4BtSQ="
}
