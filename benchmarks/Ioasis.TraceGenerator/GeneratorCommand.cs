using System.Globalization;

namespace Ioasis.TraceGenerator;

/// <summary>The command: <c>EVENTS [-o FILE] [--log FILE] [--accesses N] [--devices N] [--live N] [--pages N] [--seed N]</c>.</summary>
internal static class GeneratorCommand
{
    private const string Usage =
        """
        Writes a kernel trace (ftrace text) of any length, the same for the same arguments, for `ioasis run`.
        usage: EVENTS [-o FILE] [--log FILE [--accesses N]] [--devices N] [--live N] [--pages N] [--seed N]
          EVENTS      lines that are events; 4 are the life of a mapping
          -o FILE     where to; without it standard output
          --log FILE  a log of QEMU's riscv-iommu beside it, for `ioasis run --dma`
          --accesses  accesses in the log for each mapping [4]
          --devices   PCI devices, each with an IOVA space of its own [8]
          --live      mappings that live at one time, all devices together [4096]
          --pages     distinct physical pages [2097152]
          --seed      of sizes, tasks and the order of unmaps [1]
        """;

    public static int Run(string[] args, TextWriter errors)
    {
        string? file = null;
        string? log = null;
        TraceShape shape = new();
        long? events = null;
        for (int i = 0; i < args.Length; i++)
        {
            string? value = i + 1 < args.Length ? args[i + 1] : null;
            if (args[i] is "-o" && value is not null)
            {
                file = value;
                i++;
                continue;
            }

            if (args[i] is "--log" && value is not null)
            {
                log = value;
                i++;
                continue;
            }

            bool isOption = args[i].StartsWith('-');
            if (!long.TryParse(isOption ? value : args[i], NumberStyles.None, CultureInfo.InvariantCulture, out long number))
            {
                errors.WriteLine(Usage);
                return 2;
            }

            switch (args[i])
            {
                case "--accesses" when number is >= 1 and <= 1000:
                    shape = shape with { Accesses = (int)number };
                    break;
                case "--devices" when number is >= 1 and <= 31:
                    shape = shape with { Devices = (int)number };
                    break;
                case "--live" when number is >= 1 and <= 1 << 20:
                    shape = shape with { Live = (int)number };
                    break;
                case "--pages" when number is >= 64 and <= 1 << 28:
                    shape = shape with { Pages = number };
                    break;
                case "--seed":
                    shape = shape with { Seed = (ulong)number };
                    break;
                default:
                    if (isOption || events is not null)
                    {
                        errors.WriteLine(Usage);
                        return 2;
                    }

                    events = number;
                    continue;
            }

            i++;
        }

        if (events is not { } count)
        {
            errors.WriteLine(Usage);
            return 2;
        }

        using Stream output = file is null ? Console.OpenStandardOutput() : File.Create(file);
        using Stream? beside = log is null ? null : File.Create(log);
        using LogWriter? accesses = beside is null ? null : new(beside, shape.Accesses);
        new TraceWriter(output, shape, accesses).Write(count);
        return 0;
    }
}
