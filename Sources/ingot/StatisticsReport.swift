import Inspection
import JSON
import Models
import Storage
import Tensors
import Text

/// What `inspect --tensor` and `--expert` say.
struct StatisticsReport {
  let model: InspectedModel
  let tensors: [(tensor: StoredTensor, statistics: TensorStatistics)]

  func print() {
    for (index, item) in tensors.enumerated() {
      if index > 0 { Console.print() }
      print(item.tensor, item.statistics)
    }
  }

  private func print(_ tensor: StoredTensor, _ statistics: TensorStatistics) {
    Console.print(Console.heading(Shown.text(tensor.name)) + "  \(tensor.shape)  \(tensor.type)")
    var rows = [["elements", Format.count(statistics.count)]]
    if statistics.nonFiniteCount > 0 {
      rows.append(["not finite", "\(Format.count(statistics.nonFiniteCount)), left out below"])
    }
    if statistics.nonFiniteCount < statistics.count {
      rows.append(["range", "\(number(statistics.minimum)) … \(number(statistics.maximum))"])
      rows.append(["mean", Format.significant(statistics.mean)])
      rows.append(["std", Format.significant(statistics.standardDeviation)])
    }
    if let error = tensor.relativeRMSE { rows.append(["relative RMSE", Format.significant(Double(error))]) }
    if let share = tensor.saturatedShare {
      rows.append(["saturated", Format.fixed(100 * Double(share), 3) + " %"])
    }
    if let scales = statistics.scales, scales.count > 0 {
      let zeros = scales.zeroCount == 0 ? "" : ", \(Format.count(scales.zeroCount)) are 0"
      let least = scales.leastMagnitude.isFinite ? ", magnitudes from \(number(scales.leastMagnitude))" : ""
      let lowest =
        scales.lowestCount == 0 ? "" : ", \(Format.count(scales.lowestCount)) are the lowest that their row allows"
      rows.append(["scales", "\(number(scales.minimum)) … \(number(scales.maximum))\(least)\(zeros)\(lowest)"])
    }
    for line in Format.table(rows) { Console.print("  \(line)") }
    for line in bars(statistics) { Console.print("  \(line)") }
  }

  private func number(_ value: Float) -> String { Format.significant(Double(value)) }

  private func bars(_ statistics: TensorStatistics) -> [String] {
    let histogram = statistics.histogram
    guard let peak = histogram.map(\.count).max(), peak > 0 else { return [] }
    let width = histogram.count > 1 ? histogram[1].low - histogram[0].low : 1
    let total = Double(histogram.reduce(0) { $0 + $1.count })
    let rows = histogram.map { bar in
      let label = width == 1 ? "\(bar.low)" : "\(bar.low) … \(bar.low + width - 1)"
      return [label, Self.bar(bar.count, of: peak), Format.fixed(100 * Double(bar.count) / total, 2) + " %"]
    }
    return Format.table([[width == 1 ? "code" : "codes"]] + rows, right: [0, 2])
  }

  /// Up to 40 cells, in eighths of a cell.
  private static func bar(_ count: UInt64, of peak: UInt64) -> String {
    let eighths = count == 0 ? 0 : max(1, Int((Double(count) / Double(peak) * 320).rounded()))
    let part = eighths % 8 == 0 ? "" : String(Unicode.Scalar(0x2590 - UInt32(eighths % 8))!)  // ▏ is U+258F, ▉ U+2589
    return String(repeating: "█", count: eighths / 8) + part
  }

  // MARK: JSON

  /// Schema `ingot.inspect.tensor/1`.
  var json: JSONValue {
    [
      "schema": "ingot.inspect.tensor/1",
      "path": .string(model.path),
      "tensors": .array(tensors.map { json($0.tensor, $0.statistics) }),
    ]
  }

  private func json(_ tensor: StoredTensor, _ statistics: TensorStatistics) -> JSONValue {
    let hasFinite = statistics.nonFiniteCount < statistics.count
    return [
      "name": .string(tensor.name),
      "shape": .array(tensor.shape.dimensions.map { JSONValue($0) }),
      "encoding": .string("\(tensor.type)"),
      "elements": JSONValue(statistics.count),
      "not_finite": JSONValue(statistics.nonFiniteCount),
      "min": hasFinite ? JSONValue(statistics.minimum) : .null,
      "max": hasFinite ? JSONValue(statistics.maximum) : .null,
      "mean": hasFinite ? JSONValue(statistics.mean) : .null,
      "std": hasFinite ? JSONValue(statistics.standardDeviation) : .null,
      "relative_rmse": tensor.relativeRMSE.map { JSONValue($0) } ?? .null,
      "saturated_share": tensor.saturatedShare.map { JSONValue($0) } ?? .null,
      "scales": statistics.scales.map { scales in
        [
          "count": JSONValue(scales.count), "zero": JSONValue(scales.zeroCount), "min": JSONValue(scales.minimum),
          "max": JSONValue(scales.maximum), "min_magnitude": JSONValue(scales.leastMagnitude),
          "lowest": JSONValue(scales.lowestCount),
        ]
      } ?? .null,
      "code_histogram": .array(
        statistics.histogram.map { ["low": JSONValue($0.low), "count": JSONValue($0.count)] }),
    ]
  }
}
