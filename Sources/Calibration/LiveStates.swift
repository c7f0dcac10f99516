import Kernels
package import Models
import Pack
import Storage
import Tensors

/// States as a pass makes them: those of one layer are there at a time, and no file is.
package final class LiveStates: StateSource {
  package let document: CalibrationDocument
  private let model: TransformerModel
  private let copies: NoisyCopies
  private let progress: (Double) -> Bool

  /// - Parameter progress: called with a share of the layers; false stops.
  package init(
    _ document: CalibrationDocument, _ model: TransformerModel, _ copies: NoisyCopies,
    progress: @escaping (Double) -> Bool = { _ in true }
  ) {
    self.document = document
    self.model = model
    self.copies = copies
    self.progress = progress
  }

  package var heldByteCount: Int {
    StatePass.workingByteCount(copies, model.configuration) + 2 * document.rows * document.sizes.hidden
  }

  /// Layers before are computed, too, since each feeds the next.
  package func forEachLayer(in layers: Range<Int>, _ body: (LayerStates) -> Bool) throws(StateError) {
    let held = Held()
    let sizes = document.sizes
    try StatePass(model, copies).run(
      add: { [document] rows in
        held.add(rows, rowCount: document.rows, columns: sizes.hidden)
        return true
      },
      finished: { layer in
        let states = held.take(layer: layer, columns: sizes.hidden, slots: sizes.slots, classes: copies.classes)
        return !layers.contains(layer) || body(states)
      }, progress: progress)
  }

  /// The layer that is being collected.
  private final class Held {
    private var states = AlignedBuffer(byteCount: 0)
    private var experts: [Int32] = []
    private var weights: [Float] = []

    func add(_ rows: StatePass.Rows, rowCount: Int, columns: Int) {
      if states.byteCount == 0 { states = AlignedBuffer(byteCount: 2 * rowCount * columns) }
      // A span of what a class holds cannot be had.
      var own = AlignedBuffer(byteCount: 0)
      swap(&own, &states)
      var bytes = own.mutableBytes
      bytes.write(rows.states.bytes, at: 2 * columns * rows.range.lowerBound)
      swap(&own, &states)
      experts += rows.experts
      weights += rows.weights
    }

    func take(layer: Int, columns: Int, slots: Int, classes: [UInt8]) -> LayerStates {
      var all = AlignedBuffer(byteCount: 0)
      swap(&all, &states)
      defer { (experts, weights) = ([], []) }
      let hash = CalibrationLayout.hash(of: [
        XXH3.hash(all.bytes), XXH3.hash(experts.littleEndian.bytes), XXH3.hash(weights.littleEndian.bytes),
      ])
      return LayerStates(
        layer: layer, columns: columns, slots: slots, states: SharedBytes(all), experts: experts, weights: weights,
        classes: classes, hash: hash)
    }
  }
}
