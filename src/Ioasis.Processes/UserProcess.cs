using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Processes;

/// <summary>A process: an address space and the threads in it. It can fork, execute another program, and end.</summary>
internal sealed class UserProcess
{
    private readonly IoLock _lock = new();
    private readonly List<UserThread> _threads = [];
    private DemandPagedAddressSpace _addressSpace;

    /// <summary>Makes a process with one thread.</summary>
    /// <param name="name">For people.</param>
    /// <param name="addressSpace">Its memory, which ends with the process.</param>
    public UserProcess(string name, DemandPagedAddressSpace addressSpace)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(addressSpace);
        Name = name;
        _addressSpace = addressSpace;
        MainThread = StartThread();
    }

    /// <summary>For people.</summary>
    public string Name { get; }

    /// <summary>Its memory.</summary>
    public DemandPagedAddressSpace AddressSpace => Volatile.Read(ref _addressSpace);

    /// <summary>The first thread.</summary>
    public UserThread MainThread { get; }

    /// <summary>Starts a thread. Its PASID register is empty, whatever those of the others hold.</summary>
    public UserThread StartThread()
    {
        UserThread thread = new(this);
        using (_lock.Acquire())
        {
            _threads.Add(thread);
        }

        return thread;
    }

    /// <summary>Makes a copy of the process, with one thread and without a PASID.</summary>
    /// <returns>Success, or as <see cref="DemandPagedAddressSpace.TryFork"/>.</returns>
    public Errno TryFork(string name, out UserProcess? child)
    {
        child = null;
        Errno error = AddressSpace.TryFork(out DemandPagedAddressSpace? memory);
        if (error == Errno.Success)
        {
            child = new(name, memory!);
        }

        return error;
    }

    /// <summary>Goes on as another program: new memory, no PASID; the old memory ends as if the process had ended.</summary>
    /// <returns>The result of ending the old memory; the process goes on in either case.</returns>
    public Errno Execute(DemandPagedAddressSpace addressSpace)
    {
        ArgumentNullException.ThrowIfNull(addressSpace);
        DemandPagedAddressSpace old;
        using (_lock.Acquire())
        {
            old = _addressSpace;
            Volatile.Write(ref _addressSpace, addressSpace);
            foreach (UserThread thread in _threads)
            {
                thread.Register = default;
            }

            _ = _threads.RemoveAll(thread => !ReferenceEquals(thread, MainThread));
        }

        return old.Exit();
    }

    /// <summary>Ends the process: devices are stopped and drained, then its memory is freed.</summary>
    public Errno Exit() => AddressSpace.Exit();
}

/// <summary>A thread, as far as ENQCMD needs it.</summary>
internal sealed class UserThread
{
    private uint _register;

    internal UserThread(UserProcess process) => Process = process;

    /// <summary>What it belongs to.</summary>
    public UserProcess Process { get; }

    /// <summary>Its PASID register. Empty until its first ENQCMD (<see cref="Submit"/>).</summary>
    public PasidRegister Register
    {
        get => new(Volatile.Read(ref _register));
        set => Volatile.Write(ref _register, value.Value);
    }

    /// <summary>General-protection faults of ENQCMD that loaded the register.</summary>
    public int FixUps { get; private set; }

    /// <summary>
    /// What the thread sees of ENQCMD: its first one faults, the system loads the register from the process's PASID,
    /// if it has one, and the instruction is executed again. Without one the thread gets the fault.
    /// </summary>
    public DeferrableWriteResult Submit(ISharedWorkQueue queue, ReadOnlySpan<byte> source)
    {
        DeferrableWriteResult result = DeferrableWrite.Execute(Register, queue, source);
        if (result != DeferrableWriteResult.Fault || Register.IsValid)
        {
            return result;
        }

        Register = PasidRegister.For(SvaManager.GetPasid(Process.AddressSpace));
        if (!Register.IsValid)
        {
            return result;
        }

        FixUps++;
        return DeferrableWrite.Execute(Register, queue, source);
    }
}
