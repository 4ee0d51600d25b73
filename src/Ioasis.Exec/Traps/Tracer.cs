using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>An access to a page of a device that has no memory behind it.</summary>
/// <param name="thread">The thread, which is stopped.</param>
/// <param name="address">What it accesses.</param>
/// <param name="registers">Its registers.</param>
/// <param name="vectors">Its vector registers, as XSAVE has them; empty if they are to be asked for by ptrace.</param>
/// <returns>Whether it was carried out: then the thread goes on behind it.</returns>
internal delegate bool TrapHandler(int thread, ulong address, ref Registers registers, Span<byte> vectors);

/// <summary>
/// Waits for the program and all that comes from it, in one thread: reaps what ends, and of processes that map registers of a device it takes the
/// signals of accesses to them (ptrace), which cost no other call anything. Signals that ask this process to end go to the program.
/// </summary>
internal sealed unsafe partial class Tracer : IDisposable
{
    private const int ChildSubreaper = 36;
    private const int WaitAll = 0x4000_0000;
    private const int WakeUp = 44;
    private const int IllegalInstruction = 4;
    private const int SegmentationFault = 11;
    private const int BusError = 7;
    private const int TrapStop = 5;
    private const int EventStop = 128;
    private const int EventExit = 6;
    private const int Continue = 7;
    private const int Detach = 17;
    private const int GetRegisters = 12;
    private const int SetRegisters = 13;
    private const int GetSignal = 0x4202;
    private const int Seize = 0x4206;
    private const int Listen = 0x4208;

    // Threads and children of traced processes are traced from their first instruction on; exec and exit are told.
    private const int Options = 2 | 4 | 8 | 16 | 64;

    private readonly ConcurrentQueue<Action> _requests = new();
    private readonly HashSet<int> _traced = [];
    private readonly List<PosixSignalRegistration> _registrations = [];
    private readonly TrapHandler _handler;
    private int _tid;

    public Tracer(TrapHandler handler) => _handler = handler;

    /// <summary>Takes orphans of children over: so the system lets us reach their memory too. Before the program is started.</summary>
    public static void AdoptOrphans() => _ = SystemCalls.Prctl(ChildSubreaper, 1);

    /// <summary>Waits until nothing of the program is left.</summary>
    /// <param name="process">The program's first process.</param>
    /// <returns>Its status, as <c>wait(2)</c> has it.</returns>
    public int Run(int process)
    {
        PassSignals(process);

        // A signal that does nothing but end the wait.
        _ = SetHandler(WakeUp, NativeLibrary.GetExport(NativeLibrary.Load("libc.so.6"), "getpid"));
        _ = SetInterrupting(WakeUp, 1);
        Volatile.Write(ref _tid, (int)SystemCalls.GetThread());
        int ended = 0;
        while (true)
        {
            while (_requests.TryDequeue(out Action? request))
            {
                request();
            }

            int status = 0;
            nint thread = SystemCalls.Wait(-1, &status, WaitAll);
            if (thread < 0)
            {
                if (thread == -(int)Errno.Interrupted)
                {
                    continue;
                }

                return ended;
            }

            if ((status & 0xff) == 0x7f)
            {
                OnStop((int)thread, (status >> 8) & 0xff, status >> 16);
            }
            else
            {
                _ = _traced.Remove((int)thread);
                ended = thread == process ? status : ended;
            }
        }
    }

    /// <summary>Begins to take accesses of a process.</summary>
    /// <returns>Success, or what the system says.</returns>
    public Errno Attach(int process)
    {
        Errno result = Errno.Interrupted;
        using ManualResetEventSlim done = new();
        _requests.Enqueue(() =>
        {
            result = SeizeAll(process);
            done.Set();
        });
        while (!done.Wait(1))
        {
            _ = SystemCalls.KillThread(Environment.ProcessId, Volatile.Read(ref _tid), WakeUp);
        }

        return result;
    }

    /// <inheritdoc/>
    public void Dispose() => _registrations.ForEach(static registration => registration.Dispose());

    private void PassSignals(int process)
    {
        // Of the keyboard's the program has its own.
        foreach (PosixSignal signal in (ReadOnlySpan<PosixSignal>)[PosixSignal.SIGINT, PosixSignal.SIGQUIT])
        {
            _registrations.Add(PosixSignalRegistration.Create(signal, static context => context.Cancel = true));
        }

        foreach ((PosixSignal signal, int number) in (ReadOnlySpan<(PosixSignal, int)>)[(PosixSignal.SIGTERM, 15), (PosixSignal.SIGHUP, 1)])
        {
            _registrations.Add(PosixSignalRegistration.Create(signal, context =>
            {
                context.Cancel = true;
                _ = SystemCalls.Kill(process, number);
            }));
        }
    }

    private Errno SeizeAll(int process)
    {
        // Threads that come meanwhile: again until there is none that is not traced.
        bool found = true;
        while (found)
        {
            found = false;
            string[] threads;
            try
            {
                threads = Directory.GetDirectories(string.Create(CultureInfo.InvariantCulture, $"/proc/{process}/task"));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return Errno.NoEntry;
            }

            foreach (string folder in threads)
            {
                int thread = int.Parse(Path.GetFileName(folder.AsSpan()), CultureInfo.InvariantCulture);
                if (_traced.Contains(thread))
                {
                    continue;
                }

                nint result = SystemCalls.Trace(Seize, thread, 0, Options);
                if (result == 0)
                {
                    _ = _traced.Add(thread);
                    found = true;
                }
                else if (result == -(int)Errno.NotPermitted)
                {
                    return Errno.NotPermitted;
                }
            }
        }

        return Errno.Success;
    }

    private void OnStop(int thread, int signal, int kind)
    {
        _ = _traced.Add(thread);
        int deliver = signal;
        if (kind == EventStop && signal != TrapStop)
        {
            // The process is stopped as a whole, by SIGSTOP and its kind: it stays so.
            _ = SystemCalls.Trace(Listen, thread, 0, 0);
            return;
        }

        if (kind == EventExit)
        {
            // Who ends is its parent's alone from here on: a tracer has the status first, and a parent that does not wait sees none.
            _ = _traced.Remove(thread);
            _ = SystemCalls.Trace(Detach, thread, 0, 0);
            return;
        }

        if (kind != 0)
        {
            deliver = 0;
        }
        else if (signal is BusError or IllegalInstruction or SegmentationFault && CarryOut(thread, signal))
        {
            deliver = 0;
        }

        _ = SystemCalls.Trace(Continue, thread, 0, deliver);
    }

    private bool CarryOut(int thread, int signal)
    {
        // BUS_ADRERR; ILL_ILLOPN has the same number, and the instruction's own address. A thread without a PASID is stopped at ENQCMD by a
        // general protection fault, which has no address (SI_KERNEL).
        const int AddressError = 2;
        const int ByKernel = 0x80;
        byte* information = stackalloc byte[128];
        Registers registers = default;
        if (SystemCalls.Trace(GetSignal, thread, 0, (nint)information) < 0
            || *(int*)(information + 8) != (signal == SegmentationFault ? ByKernel : AddressError)
            || SystemCalls.Trace(GetRegisters, thread, 0, (nint)(&registers)) < 0
            || !_handler(thread, *(ulong*)(information + 16), ref registers, []))
        {
            return false;
        }

        return SystemCalls.Trace(SetRegisters, thread, 0, (nint)(&registers)) == 0;
    }

    [LibraryImport("libc", EntryPoint = "signal")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint SetHandler(int signal, nint handler);

    [LibraryImport("libc", EntryPoint = "siginterrupt")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetInterrupting(int signal, int flag);
}
