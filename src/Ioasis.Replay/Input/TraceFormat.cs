namespace Ioasis.Replay.Input;

/// <summary>The textual forms that a recording comes in.</summary>
internal enum TraceFormat
{
    /// <summary>To be recognised by content.</summary>
    Unknown,

    /// <summary>The kernel's own text: <c>cat /sys/kernel/tracing/trace</c>.</summary>
    Ftrace,

    /// <summary>The text of <c>trace-cmd report</c>.</summary>
    TraceCmd,

    /// <summary>trace-cmd's binary file, <c>trace.dat</c>.</summary>
    TraceDat,

    /// <summary>The text of <c>perf script</c>.</summary>
    PerfScript,

    /// <summary>A log of QEMU's <c>-trace</c> with time stamps: each DMA as the IOMMU's device model translated it.</summary>
    DmaLog,
}

/// <summary>The formats' names on the command line and in reports.</summary>
internal static class TraceFormats
{
    /// <summary>The names that <see cref="TryParse"/> takes.</summary>
    public static IReadOnlyList<string> Names { get; } = ["ftrace", "trace-cmd", "trace-dat", "perf-script", "dma-log"];

    /// <summary>The name of a format.</summary>
    public static string Name(this TraceFormat format) => format switch
    {
        TraceFormat.Ftrace => "ftrace",
        TraceFormat.TraceCmd => "trace-cmd",
        TraceFormat.TraceDat => "trace-dat",
        TraceFormat.PerfScript => "perf-script",
        TraceFormat.DmaLog => "dma-log",
        _ => "unknown",
    };

    /// <summary>Reads a name; <c>perf</c> and <c>qemu-log</c> are taken too.</summary>
    public static bool TryParse(string? name, out TraceFormat format)
    {
        format = name switch
        {
            "ftrace" => TraceFormat.Ftrace,
            "trace-cmd" => TraceFormat.TraceCmd,
            "trace-dat" or "trace.dat" => TraceFormat.TraceDat,
            "perf-script" or "perf" => TraceFormat.PerfScript,
            "dma-log" or "qemu-log" or "qemu" => TraceFormat.DmaLog,
            _ => TraceFormat.Unknown,
        };
        return format != TraceFormat.Unknown;
    }
}
