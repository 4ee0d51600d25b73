using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu;

/// <summary>What a QEMU machine is made of.</summary>
public sealed record QemuMachineOptions
{
    /// <summary>Which machine it is.</summary>
    public QemuBoard Board { get; init; } = QemuBoard.RiscVVirt;

    /// <summary>Value of <c>-M</c>.</summary>
    public string Machine { get; init; } = "virt";

    /// <summary>Values of <c>-device</c>, in order.</summary>
    public IReadOnlyList<string> Devices { get; init; } = [];

    /// <summary>Other arguments.</summary>
    public IReadOnlyList<string> Arguments { get; init; } = [];

    /// <summary>Trace events of QEMU's that <see cref="QemuMachine.TakeEvents"/> tells of.</summary>
    public IReadOnlyList<string> Events { get; init; } = [];

    /// <summary>MiB of RAM.</summary>
    public int MemoryMiB { get; init; } = 256;
}

/// <summary>
/// A running machine of QEMU's with no processor that runs: this process is its processor, over the qtest socket. It ends with this
/// object, and also when this process dies.
/// </summary>
/// <remarks>
/// Set <c>IOASIS_LAB_TRACE</c> to a file to have QEMU log what its IOMMU and its PCI devices do (a machine a file: the
/// process ID is appended).
/// </remarks>
public sealed class QemuMachine : IDisposable
{
    private readonly Process _process;
    private readonly string _folder;
    private readonly StringBuilder _errors;
    private readonly QemuEvents? _events;

    private QemuMachine(Process process, string folder, StringBuilder errors, Socket qtest, Socket qmp, QemuMachineOptions options)
    {
        _process = process;
        _folder = folder;
        _errors = errors;
        Board = options.Board;
        Qtest = new(qtest);
        Qmp = new(qmp);
        Memory = new(Qtest, Board.Ram(options.MemoryMiB));
        _events = options.Events.Count > 0 ? new(LogOf(folder), options.Events) : null;
    }

    /// <summary>Which machine it is.</summary>
    public QemuBoard Board { get; }

    /// <summary>The protocol.</summary>
    public QtestConnection Qtest { get; }

    /// <summary>The control socket.</summary>
    public QmpConnection Qmp { get; }

    /// <summary>Its RAM.</summary>
    public QtestMemory Memory { get; }

    /// <summary>Starts QEMU.</summary>
    /// <param name="program">The path of the QEMU that has the board.</param>
    /// <param name="options">What it is made of.</param>
    /// <exception cref="QtestException">It does not start; the message has what it said.</exception>
    public static QemuMachine Start(string program, QemuMachineOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        string folder = Directory.CreateTempSubdirectory("ioq-").FullName;
        string qtestPath = Path.Combine(folder, "q");
        string qmpPath = Path.Combine(folder, "m");
        using Socket qtestServer = Listen(qtestPath);
        using Socket qmpServer = Listen(qmpPath);
        List<string> arguments =
        [
            "-M", options.Machine, "-accel", "qtest", "-qtest", $"unix:{qtestPath}", "-qtest-log", "none", "-qmp", $"unix:{qmpPath}",
            "-m", options.MemoryMiB.ToString(CultureInfo.InvariantCulture) + "M", "-nodefaults", "-display", "none", .. options.Board.Arguments,
        ];
        foreach (string device in options.Devices)
        {
            arguments.Add("-device");
            arguments.Add(device);
        }

        string[] events = [.. options.Events, .. IsTraced ? (string[])[options.Board.TracedEvents, "pci_*"] : []];
        if (events.Length > 0)
        {
            arguments.AddRange([.. events.SelectMany(static name => (string[])["-trace", name]), "-msg", "timestamp=on", "-D", LogOf(folder)]);
        }

        arguments.AddRange(options.Arguments);
        StringBuilder errors = new();
        Process process = Launch(program, arguments, errors);
        try
        {
            Socket qtest = Accept(qtestServer, process);
            return new(process, folder, errors, qtest, Accept(qmpServer, process), options);
        }
        catch (Exception error) when (error is QtestException or IOException)
        {
            // What it says on its way out is all there when it has ended.
            End(process, folder);
            process.WaitForExit();
            lock (errors)
            {
                throw new QtestException($"QEMU did not start: {(errors.Length > 0 ? errors.ToString().Trim() : error.Message)}", error);
            }
        }
    }

    /// <summary>Registers at an address.</summary>
    public QtestRegisters Registers(ulong start) => new(Qtest, start);

    /// <summary>Lets the machine's time pass: timers that are due run.</summary>
    public void StepClock(TimeSpan by) =>
        _ = Qtest.Ask(string.Create(CultureInfo.InvariantCulture, $"clock_step {by.Ticks * 100}"));

    /// <summary>
    /// The lines, without time, of the trace events that were asked for and that came since the last call, in order. What a command made QEMU
    /// tell is there when the command is answered.
    /// </summary>
    public IReadOnlyList<string> TakeEvents()
    {
        Qtest.Flush();
        return _events?.Take() ?? [];
    }

    /// <summary>What QEMU said on its standard error so far.</summary>
    public string Errors
    {
        get
        {
            lock (_errors)
            {
                return _errors.ToString();
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Qtest.Dispose();
        Qmp.Dispose();
        _events?.Dispose();
        End(_process, _folder);
        _process.Dispose();
    }

    private static bool IsTraced => Environment.GetEnvironmentVariable("IOASIS_LAB_TRACE") is { Length: > 0 };

    private static string LogOf(string folder) =>
        IsTraced ? $"{Environment.GetEnvironmentVariable("IOASIS_LAB_TRACE")}.{Path.GetFileName(folder)}" : Path.Combine(folder, "log");

    // The shell in between ends QEMU when its input ends, which it does with this process, however that dies.
    private static Process Launch(string program, List<string> arguments, StringBuilder errors)
    {
        const string script = """
            exec 3<&0
            "$@" 3<&- </dev/null & qemu=$!
            (read -r _ <&3; kill $qemu 2>/dev/null) & watch=$!
            wait $qemu; status=$?
            kill $watch 2>/dev/null
            exit $status
            """;
        ProcessStartInfo start = new("/bin/sh")
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        foreach (string argument in (string[])["-c", script, "sh", program, .. arguments])
        {
            start.ArgumentList.Add(argument);
        }

        var process = Process.Start(start)!;
        void Note(object sender, DataReceivedEventArgs line)
        {
            lock (errors)
            {
                _ = line.Data is { Length: > 0 } ? errors.AppendLine(line.Data) : errors;
            }
        }

        process.ErrorDataReceived += Note;
        process.OutputDataReceived += Note;
        process.BeginErrorReadLine();
        process.BeginOutputReadLine();
        return process;
    }

    private static Socket Listen(string path)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(path));
        socket.Listen(1);
        return socket;
    }

    private static Socket Accept(Socket server, Process process)
    {
        long start = Stopwatch.GetTimestamp();
        while (!server.Poll(TimeSpan.FromMilliseconds(50), SelectMode.SelectRead))
        {
            if (process.HasExited || Stopwatch.GetElapsedTime(start) > TimeSpan.FromMinutes(1))
            {
                throw new QtestException("it does not connect");
            }
        }

        return server.Accept();
    }

    private static void End(Process process, string folder)
    {
        process.StandardInput.Close();
        if (!process.WaitForExit(TimeSpan.FromSeconds(10)))
        {
            process.Kill(entireProcessTree: true);
        }

        Directory.Delete(folder, recursive: true);
    }
}
