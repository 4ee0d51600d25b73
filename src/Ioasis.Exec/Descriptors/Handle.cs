namespace Ioasis.Exec;

/// <summary>What a descriptor of the program stands for.</summary>
internal enum HandleKind
{
    /// <summary><c>/dev/iommu</c>.</summary>
    Iommu,

    /// <summary><c>/dev/ioasid</c>.</summary>
    Ioasid,

    /// <summary><c>/dev/vfio/vfio</c>.</summary>
    Container,

    /// <summary><c>/dev/vfio/N</c>.</summary>
    Group,

    /// <summary>A device, by its own node or by its group.</summary>
    Device,

    /// <summary>Memory of a device, for other devices.</summary>
    DmaBuffer,

    /// <summary>The PASIDs of a virtual machine.</summary>
    VirtualMachine,

    /// <summary>A file of an extension of iommufd's, or memory that one made available.</summary>
    Extension,

    /// <summary>A queue that is read: of faults, of a virtual IOMMU's events, of a set of IOASIDs.</summary>
    Queue,
}

/// <summary>
/// An open file of our kernel that the program has, as long as any process has a descriptor or a mapping of it. It has a file of the machine's
/// kernel in the program's place, whose inode tells which it is.
/// </summary>
/// <param name="kind">What it stands for.</param>
/// <param name="descriptor">Its descriptor in the process that holds every handle's file.</param>
/// <param name="node">The path that it was opened by, or the name that Linux gives a file without one.</param>
internal sealed class Handle(HandleKind kind, int descriptor, string node)
{
    private bool _isClosed;

    /// <summary>What it stands for.</summary>
    public HandleKind Kind => kind;

    /// <summary>Its descriptor in the process that holds every handle's file.</summary>
    public int Descriptor => descriptor;

    /// <summary>The path that it was opened by, or the name that Linux gives a file without one.</summary>
    public string Node => node;

    /// <summary>The program has no descriptor and no mapping of it any more.</summary>
    public bool IsClosed
    {
        get => Volatile.Read(ref _isClosed);
        set => Volatile.Write(ref _isClosed, value);
    }

    /// <summary>Which file of the machine's kernel it is.</summary>
    public FileIdentity Identity { get; set; }

    /// <summary>A descriptor of that file which does not count as open; -1 if there is none.</summary>
    public int Path { get; set; } = -1;

    /// <summary>By which its last close is told; -1 for a queue, whose socket tells it.</summary>
    public int Watch { get; set; } = -1;

    /// <summary>For a queue: what moves its events.</summary>
    public QueuePump? Pump { get; set; }

    /// <summary>Where the node would be: major and minor number, 0 for a file without a node.</summary>
    public ulong DeviceNumber { get; set; }
}

/// <summary>A file, as <c>stat(2)</c> tells files apart.</summary>
/// <param name="Device">The file system.</param>
/// <param name="Inode">The file.</param>
internal readonly record struct FileIdentity(ulong Device, ulong Inode);
