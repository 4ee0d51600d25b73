namespace Ioasis.Kernel;

/// <summary>An address space as an object (Linux: <c>iommufd_ioas</c>).</summary>
internal sealed class IoasObject(IommufdFile owner, AddressSpace space) : KernelObject
{
    /// <summary>The address space.</summary>
    public AddressSpace Space => space;

    /// <summary>The page tables made of it. Under the descriptor's attach lock.</summary>
    public List<PageTableObject> Tables { get; } = [];

    /// <inheritdoc/>
    public override void Destroy()
    {
        owner.ForgetVfioIoas(this);
        Close();
    }

    /// <summary>Takes everything down that is mapped.</summary>
    public void Close()
    {
        space.Close();
        owner.Kernel.OnAddressSpaceClosed(space);
    }
}
