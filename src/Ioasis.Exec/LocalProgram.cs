using Ioasis.Embedded;
using Ioasis.Kernel;
using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>
/// The machine in the program's own process: whatever stands between the program and the C library asks here what a system call gives. The
/// answers are those that the program gets from outside (<see cref="ExecRunner"/>), by the same code; only nobody has to wake up for them.
/// Thread-safe.
/// </summary>
internal sealed class LocalProgram : IDisposable
{
    private readonly EmbeddedPlatform _platform;
    private readonly CallTable _calls;
    private readonly LocalSource _source = new();

    private LocalProgram(EmbeddedPlatform platform, CallTable calls)
    {
        _platform = platform;
        _calls = calls;

        // Accesses that stop a thread are its own signal: nobody watches from outside.
        _calls.Traps.Watcher = static _ => Errno.Success;
    }

    /// <summary>Builds the machine.</summary>
    /// <param name="options">The machine.</param>
    /// <param name="view">Where the files are by which the program sees it (<see cref="PreloadedProgram"/>).</param>
    /// <param name="program">The machine in the process.</param>
    /// <returns>Null, or a sentence that says why it cannot be.</returns>
    public static string? TryStart(ExecOptions options, string view, out LocalProgram? program)
    {
        ArgumentNullException.ThrowIfNull(options);
        program = null;
        if (ExecRunner.FindObstacle() is { } obstacle)
        {
            return obstacle;
        }

        ProgramPages pages = new(ExecRunner.PagesStart, ExecRunner.PagesGranules);
        EmbeddedPlatform platform = new(options.Machine with { PhysicalMemory = own => new MachineMemory(own, pages) });
        string? problem = ViewedDevices.TryAdd(options, platform, out List<ViewedDevice> viewed);
        HandleTable? handles = null;
        problem ??= HandleTable.TryCreate(platform.CreateProcess(new()), out handles);
        if (problem is not null)
        {
            platform.Dispose();
            return problem;
        }

        ViewTree tree = ViewTree.Describe(view, viewed);
        program = new(platform, new(tree, platform, pages, handles!));
        return null;
    }

    /// <summary>Whether the program has no descriptor and no mapping of the machine's.</summary>
    public bool IsIdle => _calls.IsIdle;

    /// <summary>Answers a system call of the calling thread.</summary>
    /// <param name="number">Which one (x86-64).</param>
    /// <param name="arguments">Its six arguments.</param>
    /// <param name="result">What it gives, or <c>-errno</c>.</param>
    /// <returns>Whether it is ours; else the machine's kernel makes it.</returns>
    public bool TryCall(int number, ReadOnlySpan<ulong> arguments, out long result)
    {
        Notification call = new()
        {
            Thread = (int)SystemCalls.GetThread(),
            Number = number,
            Argument0 = arguments[0],
            Argument1 = arguments[1],
            Argument2 = arguments[2],
            Argument3 = arguments[3],
            Argument4 = arguments[4],
            Argument5 = arguments[5],
        };
        Answer answer = _calls.Handle(call, _source);
        result = answer.Value;
        return answer.Kind == AnswerKind.Result;
    }

    /// <summary>Makes an access of mapped registers that stopped the calling thread.</summary>
    /// <param name="address">What it accessed.</param>
    /// <param name="registers">Its registers in the order of <c>struct user_regs_struct</c>; afterwards as the instruction leaves them.</param>
    /// <param name="vectors">Its vector registers, as XSAVE has them in a signal's frame; afterwards as the instruction leaves them.</param>
    /// <returns>Whether it was one.</returns>
    public bool TryAccess(ulong address, Span<ulong> registers, Span<byte> vectors)
    {
        Registers own = default;
        registers.CopyTo(own);
        if (!_calls.Traps.CarryOut((int)SystemCalls.GetThread(), address, ref own, vectors))
        {
            return false;
        }

        ((ReadOnlySpan<ulong>)own).CopyTo(registers);
        return true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _calls.Dispose();
        _platform.Dispose();
    }

    private sealed unsafe class LocalSource : ICallSource
    {
        private const int SetDescriptorFlags = 2;

        public bool IsValid(ulong id) => true;

        // It is there already.
        public nint Give(ulong id, int descriptor, bool closeOnExec)
        {
            _ = SystemCalls.Control(descriptor, SetDescriptorFlags, closeOnExec ? 1 : 0);
            return descriptor;
        }

        public bool TryIdentify(int thread, int descriptor, out FileIdentity identity)
        {
            byte* stat = stackalloc byte[SystemCalls.SizeOfStat];
            byte empty = 0;
            identity = default;
            if (descriptor < 0 || SystemCalls.Stat(descriptor, &empty, stat, SystemCalls.AtEmptyPath) < 0)
            {
                return false;
            }

            identity = new(*(ulong*)stat, *(ulong*)(stat + 8));
            return true;
        }
    }
}
